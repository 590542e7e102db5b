"""Doctor: examines settings, accounts, services and this machine, and gives a remedy for each fault.

Other people see nothing of it: no message is posted.
"""
