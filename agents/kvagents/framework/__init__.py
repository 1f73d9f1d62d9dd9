"""What all agents share.

An agent connects something outside, a field bus or a service, to the tree. It is a subclass of
:class:`~kvagents.framework.agent.AgentKind` with two methods: ``plan`` turns the entries of its configuration into
specifications, one per binding, and is pure; ``run`` does the work of one binding and may fail. The framework does the
rest: it follows the configuration, keeps each binding running, and reports.

========== =====================================================================
module     what it has
========== =====================================================================
config     entries with inherited attributes, problems, differences (pure)
check      entries against a JSON Schema
retry      delays, and what counts as working (pure)
errors     error records (pure)
supervise  one task per binding, tried again when it fails
reporter   writes error records and the status
agent      the life of an agent; what subclasses see
registry   finding agents by entry points
run        an agent as a process
command    ``kv agent``
========== =====================================================================
"""
