"""Rows out of a queue: taken, answered, their results handed on, and only then acknowledged."""

from llmbatch.intake.address import Address, address_of
from llmbatch.intake.brokers import Broker, open_broker
from llmbatch.intake.files import Files
from llmbatch.intake.intake import Intake
from llmbatch.intake.message import Fate, Message, Queues, Settlement
from llmbatch.intake.pump import Pump

__all__ = [
    "Address",
    "Broker",
    "Fate",
    "Files",
    "Intake",
    "Message",
    "Pump",
    "Queues",
    "Settlement",
    "address_of",
    "open_broker",
]
