"""Plays Google Colab's own package in a kernel: a Drive to mount and a secrets panel to ask, kept in one folder.

The folder is named by the variable COLAB_STAND_IN. In it, `drive/MyDrive` is the Drive that outlives a machine,
`secrets.json` the panel, `asked.txt` what it was asked, `refused` (a file) makes Drive refuse to be mounted.
"""
