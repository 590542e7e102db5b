"""Dead man's switch: a message scheduled with Slack ahead of time and moved while the training lives."""
