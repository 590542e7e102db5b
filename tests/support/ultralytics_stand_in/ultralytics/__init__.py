"""Ultralytics, where it is not installed, for a program that imports it: see tests/support/yolo.py."""

from tests.support.yolo import YOLO

__all__ = ["YOLO"]
