"""The doctor: looks at settings, accounts, services and this machine, and says what to do about what is wrong.

Nothing that it does can be seen by other people: no message is posted.
"""
