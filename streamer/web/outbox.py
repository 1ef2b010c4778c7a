"""What waits for one client of the page: of every subject only the newest message, so that it can never grow."""

from __future__ import annotations

Message = str | bytes


class Outbox:
    """Messages by subject, in the order in which the subjects came. ``dropped`` counts those that were overtaken."""

    def __init__(self) -> None:
        self._waiting: dict[str, Message] = {}
        self.dropped = 0

    def put(self, subject: str, message: Message) -> bool:
        """Have a message sent. Whether an older one of the same subject was waiting, which is dropped."""
        drops = subject in self._waiting
        self.dropped += drops
        self._waiting[subject] = message
        return drops

    def take(self, pictures: bool = True) -> Message | None:
        """The next message to be sent, None when nothing waits. Without ``pictures``, the next one that is a text."""
        subjects = (subject for subject, message in self._waiting.items() if pictures or isinstance(message, str))
        subject = next(subjects, None)
        return None if subject is None else self._waiting.pop(subject)

    def __len__(self) -> int:
        return len(self._waiting)
