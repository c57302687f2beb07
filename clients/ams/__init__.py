"""The client of AMS, the service that stores agent templates and agents' owners."""

from clients.ams.client import MAX_IDS_PER_CALL, Ams
from clients.ams.records import (
    Account,
    AgentFacts,
    AgentRow,
    Profile,
    PublishedVersion,
    TemplateFormat,
    TemplateRecord,
    TemplateValidation,
    TemplateVersionRecord,
    UpgradeChange,
    UpgradePlan,
    UpgradeStep,
)

__all__ = [
    "MAX_IDS_PER_CALL",
    "Account",
    "AgentFacts",
    "AgentRow",
    "Ams",
    "Profile",
    "PublishedVersion",
    "TemplateFormat",
    "TemplateRecord",
    "TemplateValidation",
    "TemplateVersionRecord",
    "UpgradeChange",
    "UpgradePlan",
    "UpgradeStep",
]
