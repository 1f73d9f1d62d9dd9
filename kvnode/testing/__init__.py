"""Tools for tests of this project and of others: contract suites, fakes, the simulator."""
