"""Jinja templates: `tasks/` (fields to messages), `chat/` (messages to text), `report/` (HTML and the data set card)."""
