"""Outputs: commands and their age, restoring, falling back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from kvagents.framework.commands import Apply, Command, Commands, OutputRules, Refuse

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def test_a_fresh_command_is_carried_out():
    commands = Commands(OutputRules())
    assert commands.command(Command(True, at(0)), at(59)) == Apply(True)
    assert commands.command(Command(None, at(70)), at(60)) == Apply(None), "a clock that is ahead"


def test_a_stale_command_is_refused_and_the_next_one_is_not():
    commands = Commands(OutputRules())
    refused = commands.command(Command(True, at(0)), at(3600))
    assert isinstance(refused, Refuse)
    assert "3600 s old" in refused.message
    assert "60 s is the limit" in refused.message
    assert commands.command(Command(True, at(3600)), at(3601)) == Apply(True)
    assert Commands(OutputRules(command_age_s=math.inf)).command(Command(1, at(0)), at(1e8)) == Apply(1)


def test_what_was_carried_out_before_is_neither_repeated_nor_reported():
    assert Commands(OutputRules(), executed=at(1)).command(Command(True, at(0)), at(3600)) is None
    assert Commands(OutputRules(), executed=at(1)).command(Command(True, at(2)), at(3)) == Apply(True)
    later = Commands(OutputRules(), executed=at(1)).command(Command(True, at(2)), at(3600))
    assert isinstance(later, Refuse), "given while the agent was away"


@pytest.mark.parametrize("executed", [None, at(1)])
def test_with_restore_the_last_command_is_applied_however_old(executed: datetime | None):
    commands = Commands(OutputRules(restore=True), executed)
    assert commands.command(Command(7, at(0)), at(99_999)) == Apply(7)


@pytest.mark.parametrize("restore", [False, True])
def test_a_command_that_is_over_is_not_carried_out(restore: bool):
    commands = Commands(OutputRules(fail_safe=False, restore=restore, fail_safe_after_s=0))
    refused = commands.command(Command(True, at(0), over=True), at(1))
    assert isinstance(refused, Refuse)
    assert "lease has ended" in refused.message
    assert commands.command(Command(True, at(0), over=True), at(1)) is None, "told once"
    assert commands.link(False, 2) == Apply(False, is_fail_safe=True)
    assert commands.link(True, 3) is None


@pytest.mark.parametrize("executed", [None, at(1)])
def test_when_a_command_is_over_what_it_set_is_made_safe(executed: datetime | None):
    commands = Commands(OutputRules(fail_safe=False, restore=True), executed)
    assert commands.command(Command(True, at(0)), at(1)) == Apply(True)
    assert commands.command(Command(True, at(0), over=True), at(30)) == Apply(False, is_fail_safe=True)
    assert commands.command(Command(True, at(0), over=True), at(30)) is None
    assert commands.link(True, 40) is None, "there is nothing to restore"
    assert commands.command(Command(True, at(50)), at(50)) == Apply(True), "renewed"


def test_without_a_fail_safe_value_an_output_stays_when_its_command_is_over():
    commands = Commands(OutputRules())
    commands.command(Command(True, at(0)), at(1))
    assert commands.command(Command(True, at(0), over=True), at(30)) is None


def test_a_command_that_is_told_once_more_is_neither_repeated_nor_stale():
    commands = Commands(OutputRules())
    assert commands.command(Command(True, at(0)), at(1)) == Apply(True)
    assert commands.command(Command(True, at(0)), at(3600)) is None
    assert commands.command(Command(False, at(0)), at(1)) == Apply(False), "another one of the same millisecond"


def test_without_a_node_the_output_is_made_safe_once_and_stays_so():
    commands = Commands(OutputRules(fail_safe=False, fail_safe_after_s=30))
    commands.command(Command(True, at(0)), at(0))
    assert commands.link(True, 100) is None
    assert commands.link(False, 101) is None
    assert commands.deadline() == 131
    assert commands.link(False, 130.9) is None
    assert commands.link(False, 131) == Apply(False, is_fail_safe=True)
    assert commands.link(False, 200) is None
    assert commands.link(True, 201) is None, "the last command is not replayed"
    assert commands.command(Command(True, at(300)), at(301)) == Apply(True)
    assert commands.link(False, 302) is None
    assert commands.link(False, 332) == Apply(False, is_fail_safe=True)


def test_a_short_loss_does_nothing():
    commands = Commands(OutputRules(fail_safe=0))
    commands.link(False, 0)
    commands.link(True, 29)
    assert commands.link(False, 30) is None
    assert commands.deadline() == 60


def test_with_restore_the_command_comes_back_with_the_node():
    commands = Commands(OutputRules(fail_safe=0, fail_safe_after_s=0, restore=True))
    commands.command(Command(5, at(0)), at(0))
    assert commands.link(False, 1) == Apply(0, is_fail_safe=True)
    assert commands.link(True, 2) == Apply(5)
    assert commands.link(True, 3) is None


def test_without_a_fail_safe_value_the_output_stays():
    commands = Commands(OutputRules())
    assert commands.link(False, 0) is None
    assert commands.link(False, 1e6) is None
    assert commands.deadline() == math.inf
    assert commands.lost() is None
    assert Commands(OutputRules(fail_safe=None)).lost() == Apply(None, is_fail_safe=True), "None is a value"
