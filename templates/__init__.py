"""Jinja templates: `tasks/` (fields to messages), `chat/` (messages to text), `report/` (HTML, data set card)."""
