"""What all agents share.

An agent connects something outside, a field bus or a service, to the tree. It is a subclass of
:class:`~kvagents.framework.agent.AgentKind` with two methods: ``plan`` turns the entries of its configuration into
specifications, one per binding, and is pure; ``run`` does the work of one binding and may fail. The framework does the
rest: it follows the configuration, keeps each binding running, and reports.

=========== ====================================================================
module      what it has
=========== ====================================================================
config      entries with inherited attributes, problems, differences (pure)
check       entries against a JSON Schema
binding     the attributes that bindings of all agents understand (pure)
convert     from what a device says to what the tree holds, and back (pure)
expression  expressions in a configuration, within bounds (pure)
filter      which readings are worth writing (pure)
commands    what an output is to be set to: age, restoring, falling back (pure)
claim       who drives a bus (pure)
retry       delays, and what counts as working (pure)
errors      what agents raise
agent       the life of an agent; what subclasses implement
link        what a running binding sees of the framework
drive       feeding the tree from a device, driving a device from the tree
supervise   one task per binding, tried again when it fails
keeper      keeps the claim
reporter    writes error records, sources and the status
registry    finding agents by entry points
run         an agent as a process
command     ``kv agent``, with ``overview`` and ``console``
testing     the contract of agents, for tests of this project and of others
=========== ====================================================================
"""
