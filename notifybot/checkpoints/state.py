"""State of a training's objects: captured cheaply for a checkpoint, restored completely or not at all."""

from __future__ import annotations

import contextlib
import copy
import sys
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

from notifybot.checkpoints import compatibility, rng
from notifybot.checkpoints.arrangement import (
    ABSENT,
    EXTRA,
    SEVERAL_KEY,
    Kind,
    OneOrSeveral,
    StatePart,
    arrangement_of,
    parts_of,
    rearranged,
    unclaimed,
)
from notifybot.checkpoints.buffers import Buffers
from notifybot.checkpoints.compatibility import (
    Fit,
    note,
    optimizer_problems,
    other_kind,
)
from notifybot.checkpoints.errors import unfit, ways_on
from notifybot.checkpoints.serialization import check_torch, from_plain, plain_copy, to_safe
from notifybot.checkpoints.settings import (
    KeepSettings,
    OwnSettings,
    ScheduleReplay,
    optimizer_notes,
    scheduler_notes,
)
from notifybot.errors import CheckpointError, UsageError, reader_text
from notifybot.types import Reason

RANDOM_KEY = "random_states"
VALUES_KEY = "state"

# Loaded after what can be undone: modules, which are checked best, and then loaders, which refuse nothing.
_NOT_UNDONE: dict[Kind, int] = {"module": 1, "loader": 2}


class Parts:
    """Objects whose state a training resumes from: model, optimizer, scheduler, scaler, and any `extra` ones.

    Each of the first four is one object, or a list or dict of several. Every object has `state_dict` and
    `load_state_dict`; a generator of PyTorch, NumPy or Python may stand in `extra` as well. `state` is a dict of plain
    values, restored in place.
    Raises UsageError naming an object that has neither, and CheckpointError for a PyTorch before 2.10.
    """

    def __init__(
        self,
        *,
        model: OneOrSeveral,
        optimizer: OneOrSeveral | None = None,
        scheduler: OneOrSeveral | None = None,
        scaler: OneOrSeveral | None = None,
        extra: Mapping[str, object] | None = None,
        state: dict[Any, Any] | None = None,
        keep_settings: KeepSettings = False,
    ) -> None:
        import torch

        check_torch(torch.__version__)
        given = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
        self._parts = parts_of(given, extra or {})
        self._own = OwnSettings(keep_settings, self._parts)
        self._values = state
        if state is not None:
            plain_copy(state)
        self._buffers = Buffers()
        self._hooks: list[_FirstStep] = []
        self._saves = False

    @property
    def model(self) -> Any:
        """The model, or one module that holds them all."""
        models = {str(part.place): part.value for part in self._parts if part.argument == "model"}
        return compatibility.together(models) if len(models) > 1 else next(iter(models.values()))

    @property
    def modules(self) -> dict[str, Any]:
        """The model and the other modules by label, without their wrappers."""
        return {part.label: compatibility.unwrapped(part.value) for part in self._parts if part.kind == "module"}

    def check(self) -> None:
        """Raise UsageError, naming the key path, for a state that cannot be saved; reserve the memory for a save.

        A loader is not asked, because its `state_dict` starts its workers.
        """
        self._saves = True
        self._reserve([part for part in self._parts if part.kind != "loader"])

    def unsaved(self) -> list[Any]:
        """Parameters that an optimizer trains and no other part holds: no checkpoint will have their values.

        States are searched only for parameters that are in no module: tensors are compared by memory, and by value in
        the state of parts that are no modules, as those may hold copies.
        """
        groups = [group for part in self._parts if part.kind == "optimizer" for group in part.value.param_groups]
        own = {id(each) for module in self.modules.values() for each in module.parameters()}
        left = [each for group in groups for each in group["params"] if each.requires_grad and id(each) not in own]
        for part in self._parts if left else ():
            if part.kind not in ("optimizer", "loader"):
                left = _not_in(part, left)
        return left

    def sums(self) -> list[float]:
        """Sum of each parameter that learns, to see later whether any has changed."""
        import torch

        learning = [each for module in self.modules.values() for each in module.parameters() if each.requires_grad]
        real = [torch.view_as_real(each.detach()) if each.is_complex() else each.detach() for each in learning]
        return [each.sum(dtype=torch.float64).item() for each in real]

    @property
    def is_empty(self) -> bool:
        """True when the model's own state is empty, as with layers in a plain list; of several models, each one's."""
        models = [part for part in self._parts if part.argument == "model"]
        return all(part.kind == "module" and not part.state() for part in models)

    def watch_first_steps(self) -> None:
        """Reserve an optimizer's memory after its first step, as it has no state before. `release` stops watching.

        Never raises: it only makes the first save faster.
        """
        for part in self._parts:
            with contextlib.suppress(Exception):  # a wrapper that is an optimizer in name only
                if part.kind == "optimizer" and not part.value.state:
                    self._hooks.append(_FirstStep.on(part.value, self))

    def release(self) -> None:
        """Remove our hooks from the training's objects. May be called at any time, and again."""
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook.leave(self)

    def stepped(self, optimizer: Any) -> None:
        """Reserve the memory for an optimizer that has made its first step."""
        self._reserve([part for part in self._parts if part.value is optimizer])

    def capture(self) -> dict[str, Any]:
        """Copy the whole state to CPU memory, on the caller's thread; the caller adds epoch, loss and the rest.

        Nothing in the copy is shared with the training. Its tensors are valid until the next `capture`, which
        overwrites them. Keeps as much CPU memory as the state itself between saves (see `Buffers`).
        """
        self._buffers.start()
        payload: dict[str, Any] = {}
        for part in self._parts:
            state = to_safe(part.state(), part.at, self._buffers.keep)
            lasting = [*part.value.parameters(), *part.value.buffers()] if part.kind == "module" else ()
            self._buffers.part_done(lasting)
            part.put_in(payload, state)
        if several := {name: each for name, each in arrangement_of(self._parts).items() if each is not None}:
            payload[SEVERAL_KEY] = several
        if self._values is not None:
            payload[VALUES_KEY] = plain_copy(self._values)
        payload[RANDOM_KEY] = to_safe(rng.capture(), RANDOM_KEY, lambda _at, tensor: tensor)
        self._buffers.finish()
        return payload

    def learnt_in(self, payload: Mapping[str, Any]) -> list[Any]:
        """Return the values of the models' parameters in a copied state.

        Of no buffers: they may hold infinity on purpose, as masks do.
        """
        found: list[Any] = []
        for part in self._parts:
            state = part.saved_in(payload)
            if part.argument == "model" and part.kind == "module" and isinstance(state, Mapping):
                names = (name for name, _ in compatibility.unwrapped(part.value).named_parameters())
                found += [state[name] for name in map(compatibility.plain_name, names) if name in state]
        return found

    def restore(self, payload: Mapping[str, Any]) -> list[Reason]:
        """Restore a checkpoint's state; return notes on differences that are no reason to stop.

        Raises CheckpointError that lists all that does not fit, before anything is changed.
        """
        replay = ScheduleReplay()
        loads, notes = self._fitted(payload, replay)
        self._buffers.forget()  # an optimizer on the CPU adopts the payload's tensors
        with ExitStack() as undo:
            if self._own:
                loads, more = self._settled(loads, replay, undo)
                notes += more
            for part, state in loads:
                _load(part, state, undo)
            undo.pop_all()
        for part, _ in loads:
            if part.kind == "loader":
                part.value.state_dict()  # makes its iterator, which draws seeds: before the generators are restored
        for part, state in loads:
            if part.kind == "generator":
                part.value.load_state_dict(state)
        notes += self._restore_values(payload)
        notes += map(note, rng.restore(from_plain(payload.get(RANDOM_KEY))))
        with contextlib.suppress(UsageError):  # the next save reports it
            if self._saves:
                self.check()
        return notes

    def _restore_values(self, payload: Mapping[str, Any]) -> list[Reason]:
        """Put the saved values into the program's own dict; keys that the checkpoint lacks keep their values."""
        try:
            saved = plain_copy(payload.get(VALUES_KEY))
        except UsageError:  # none, or something else of that name in a file of the user's own
            saved = {}
        if self._values is not None:
            self._values.update(saved)
            return [] if saved or not self._values else [note(reader_text("checkpoints.state.no_values"))]
        return [note(reader_text("checkpoints.arrangement.not_asked_for", name=VALUES_KEY))] if saved else []

    def _settled(
        self, loads: list[tuple[StatePart, Any]], replay: ScheduleReplay, undo: ExitStack
    ) -> tuple[list[tuple[StatePart, Any]], list[Reason]]:
        """Bring the schedules to their place; return the states with the program's settings, and notes on these."""
        for part in self._parts:
            if part.kind == "optimizer":
                undo.callback(_reset, part.value, [_without_parameters(each) for each in part.value.param_groups])
            elif part.kind == "scheduler":
                undo.callback(_go_back, part.value, copy.deepcopy(part.value.state_dict()))
        replay.run()
        settled, notes = [], []
        for part, state in loads:
            if part.kind == "optimizer":
                schedule = self._own.schedule and not any(each is part.value for each in replay.as_saved)
                fit = self._own.settled(part.value, state, scheduled=self._scheduled, schedule=schedule)
                notes += _named(part, fit.notes)
                state = fit.state
            settled.append((part, state))
        return settled, notes

    def _fitted(
        self, payload: Mapping[str, Any], replay: ScheduleReplay
    ) -> tuple[list[tuple[StatePart, Any]], list[Reason]]:
        """Return each part with the state to load, in loading order, and notes. Raises CheckpointError."""
        loads, notes = [], unclaimed(self._parts, payload)
        problems, others = rearranged(self._parts, payload)
        for part in self._parts:
            if part.argument in others:
                continue
            saved = part.saved_in(payload)
            if saved is ABSENT and not self._moves(part):
                problems.append(reader_text("checkpoints.state.lacks_item", name=part.name, at=part.at))
                continue
            fit = self._fit(part, from_plain(saved), replay)
            problems += [f"{part.name}: {line}" for line in fit.problems]
            if fit.problems:
                problems += self._elsewhere(part, payload)
            notes += _named(part, fit.notes)
            if fit.state is not ABSENT:
                loads.append((part, fit.state))
        if problems:
            raise CheckpointError(unfit(problems))
        return sorted(loads, key=lambda each: _NOT_UNDONE.get(each[0].kind, 0)), notes

    @property
    def _scheduled(self) -> bool:
        return any("scheduler" in (each.argument, each.kind) for each in self._parts)

    def _moves(self, part: StatePart) -> bool:
        """True for a scheduler that is stepped to its place, not loaded."""
        return self._own.schedule and part.kind == "scheduler"

    def _fit(self, part: StatePart, saved: Any, replay: ScheduleReplay) -> Fit:
        if self._moves(part):
            return replay.fit(part.value, saved, part.name)
        fit = _fit(part, saved, scheduled=self._scheduled)
        if self._own and part.kind == "optimizer" and not fit.problems:
            return Fit(saved, self._own.problems(part.value, saved))  # its notes come when the schedules are in place
        return fit

    def _elsewhere(self, part: StatePart, payload: Mapping[str, Any]) -> list[str]:
        """Return a line if the state that was saved for another of several objects would fit this one."""
        for other in self._parts:
            if other.argument == part.argument != EXTRA and other is not part:
                saved = other.saved_in(payload)
                if saved is not ABSENT and not self._fit(part, from_plain(saved), ScheduleReplay()).problems:
                    return [reader_text("checkpoints.state.fits_another", name=part.name, other=other.at)]
        return []

    def _reserve(self, parts: list[StatePart]) -> None:
        reserved: list[Any] = []

        def reserve(at: str, tensor: Any) -> Any:
            reserved.extend(self._buffers.prepare(at, tensor))
            return tensor

        for part in parts:
            to_safe(part.state(), part.at, reserve)
        self._buffers.touch(reserved)


class _FirstStep:
    """Step hook on an optimizer, at most one per optimizer: reserves its memory after the next step, once.

    PyTorch iterates over an optimizer's hooks while it calls them and breaks when one is removed meanwhile, so the hook
    stays, idle, until the run ends. It holds weak references only, and a copy of it does nothing.
    """

    _on: ClassVar[weakref.WeakKeyDictionary[Any, _FirstStep]] = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self._owner: Any = None  # weak reference to the `Parts` that waits for the step
        self._waits = False
        self._handle: Any = None

    @classmethod
    def on(cls, optimizer: Any, owner: Parts) -> _FirstStep:
        """Return the optimizer's hook, made if missing, now working for `owner`."""
        hook = cls._on.get(optimizer)
        if hook is None:
            hook = cls()
            hook._handle = optimizer.register_step_post_hook(hook)
            cls._on[optimizer] = hook
        hook._owner, hook._waits = weakref.ref(owner), True
        return hook

    def __call__(self, optimizer: Any, *_: object) -> None:
        import torch

        if torch.compiler.is_compiling() or not self._waits:  # a traced step has no state
            return
        self._waits = False
        owner = self._owner()
        with contextlib.suppress(Exception):  # the first save reports a problem
            if owner is not None:
                owner.stepped(optimizer)

    def __reduce__(self) -> Any:
        return (_FirstStep, ())

    def leave(self, owner: Parts) -> None:
        """Stop working for `owner`; remove the hook unless another owner uses it or a step runs on this thread."""
        if self._owner is None or self._owner() is not owner:
            return
        self._waits = False
        if _in_a_step():
            return
        self._handle.remove()
        for optimizer in [each for each, hook in self._on.items() if hook is self]:
            del self._on[optimizer]


def _in_a_step() -> bool:
    """True when an optimizer's `step` is on our stack: the garbage collector may end a forgotten loop anywhere."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "torch.optim.optimizer":
            return True
    return False


def _fit(part: StatePart, saved: Any, *, scheduled: bool) -> Fit:
    if part.argument != EXTRA and not isinstance(saved, Mapping):
        return Fit(saved, [reader_text("checkpoints.state.is_no_dict", at=part.at, kind=type(saved).__name__)])
    if part.kind == "module":
        return compatibility.fit(part.value, saved)
    if part.kind == "optimizer":
        problems = optimizer_problems(part.value, saved)
        return Fit(saved, problems, notes=[] if problems else optimizer_notes(part.value, saved, scheduled=scheduled))
    if part.kind == "scheduler":
        problems = other_kind(part.value.state_dict(), saved)
        return Fit(saved, problems, notes=[] if problems else scheduler_notes(part.value, saved))
    if part.kind == "scaler" and part.value.is_enabled() and not saved:
        return Fit(ABSENT, notes=[note(reader_text("checkpoints.state.scaler_was_off"))])
    return Fit(saved)


def _load(part: StatePart, state: Any, undo: ExitStack) -> None:
    """Load it, and leave on `undo` how to go back. Raises CheckpointError naming the part."""
    if part.kind not in _NOT_UNDONE:
        before = part.value.state_dict()
        undo.callback(_go_back, part.value, before if part.kind == "optimizer" else copy.deepcopy(before))
    target = compatibility.unwrapped(part.value) if part.kind == "module" else part.value
    try:
        target.load_state_dict(state)
    except Exception as error:  # a part's own code may raise anything: its state does not fit
        text = reader_text("checkpoints.state.state_refused", name=part.name, error=error, ways_on=ways_on())
        raise CheckpointError(text) from error


def _named(part: StatePart, notes: list[Reason]) -> list[Reason]:
    """Return a part's notes with its name before what they are about: "optimizer: group 0", "scheduler[1]"."""
    joints = ["" if each.about.startswith("[") or not each.about else ": " for each in notes]
    return [replace(each, about=part.name + joint + each.about) for each, joint in zip(notes, joints, strict=True)]


def _without_parameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}


def _reset(optimizer: Any, before: list[dict[str, Any]]) -> None:
    for group, settings in zip(optimizer.param_groups, before, strict=True):
        group.update(settings)


def _go_back(value: Any, before: Any) -> None:
    with contextlib.suppress(Exception):  # a part that refuses its own state must not hide the first error
        value.load_state_dict(before)


def _not_in(part: StatePart, parameters: list[Any]) -> list[Any]:
    """Return the parameters that are not among the tensors of a part's state."""
    held: set[int] = set()
    copies = part.kind != "module"

    def look(_: str, tensor: Any) -> Any:
        held.update(id(each) for each in parameters if id(each) not in held and _is_same(each, tensor, copies=copies))
        return tensor

    to_safe(part.state(), part.at, look)
    return [each for each in parameters if id(each) not in held]


def _is_same(parameter: Any, tensor: Any, *, copies: bool) -> bool:
    """True when a tensor shares the parameter's memory or, with `copies`, has its values in any dtype."""
    import torch

    with contextlib.suppress(RuntimeError, NotImplementedError):  # sparse, lazy or on the meta device
        if tensor.data_ptr() == parameter.data_ptr():
            return True
        return copies and tensor.shape == parameter.shape and torch.equal(parameter.detach().to(tensor), tensor)
    return False
