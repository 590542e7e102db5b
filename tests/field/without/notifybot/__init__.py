"""Stands where notifybot would: the same names, which do nothing. A script run with it is the script without us."""

import contextlib


class Mute:
    """Takes every call and does nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


class Loop:
    """The epochs as they are."""

    def __init__(self, epochs):
        self._epochs = epochs
        self._stopped = False
        self.run = Mute()
        self.tensorboard = self.wandb = None
        self.total = len(epochs) if hasattr(epochs, "__len__") else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __iter__(self):
        for epoch in self._epochs:
            yield epoch
            if self._stopped:
                return

    def __len__(self):
        return len(self._epochs)

    def log(self, mapping=None, /, **more):
        pass

    def log_checkpoint(self, path):
        pass

    def stop(self, reason=""):
        self._stopped = True


def notify_epoch(epochs, **given):
    return Loop(epochs)


@contextlib.contextmanager
def notify_run(name=None, **given):
    yield Mute()
