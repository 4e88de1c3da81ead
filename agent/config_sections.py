"""The tables of the configuration file: names, types, defaults and limits of each setting.

Job: one class a table, one sentence a setting; the documents are generated from here. Place: composed by ``config``,
whose ``Settings`` and ``load_settings`` are what the rooms import. It must never read a file or the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(ge=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]


class Section(BaseModel):
    """A table of the configuration file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PeerSettings(Section):
    """One DICOM node that sends to the agent or is queried by it."""

    name: str = Field(description="Name shown in the dashboard.")
    calling_aet: AETitle = Field(description="AE title the peer calls with.")
    address: str = Field("", description="Address it calls from; empty allows any.")
    host: str = Field("", description="Host to query or echo back; empty: the peer's address.")
    port: Port = Field(0, description="Port to query or echo back; 0: none.")
    called_aet: str = Field("", description="AE title to call it by; empty: its calling AE title.")
    sends: Literal["whole_studies", "parts"] = Field(
        "parts", description="Whether the peer sends whole studies or parts chosen by routing rules."
    )


class DicomSettings(Section):
    """The DICOM destination."""

    ae_title: AETitle = Field("NEUROPACS_AGENT", description="AE title of this destination.")
    host: str = Field("0.0.0.0", description="Address to listen on; `::` for IPv6 and IPv4.")
    port: Port = Field(11112, description="Port to listen on; 0 takes a free one.")
    receivers: int = Field(0, ge=0, le=64, description="Receiver processes; 0: one less than the cores, at least 1.")
    max_pdu_bytes: int = Field(1_048_576, ge=0, le=16_777_216, description="Largest PDU accepted; 0: no limit told.")
    accept: Literal["any", "listed"] = Field(
        "any", description="`listed` refuses peers that are not in `[[dicom.peer]]`."
    )
    require_called_aet: bool = Field(False, description="Refuse associations that call another AE title.")
    max_associations: int = Field(100, ge=1, le=2000, description="Open associations at most.")
    max_associations_per_address: int = Field(50, ge=1, le=2000, description="Open connections of one address at most.")
    max_object_bytes: int = Field(8_589_934_592, ge=1_048_576, description="Largest object accepted.")
    association_timeout_s: Seconds = Field(10, description="From connection to a complete A-ASSOCIATE-RQ.")
    pdu_timeout_s: Seconds = Field(60, description="A PDU that has begun must end within this.")
    idle_timeout_s: Seconds = Field(300, description="An association without traffic is aborted after this.")
    dimse_timeout_s: Seconds = Field(120, description="Between the messages of one DIMSE operation.")
    fast_path: bool = Field(
        True, description="Store objects while they come; false: assemble each in memory by pynetdicom alone."
    )
    peer: tuple[PeerSettings, ...] = Field((), description="Known peers.")


class StudySettings(Section):
    """When a study is complete."""

    quiet_s: Seconds = Field(60, description="Quiet time of a study when proof of completeness is missing.")
    series_quiet_s: Seconds = Field(20, description="Quiet time of a series when proof is missing.")
    association_quiet_s: Seconds = Field(
        120, description="An open association without traffic holds no longer than this."
    )
    max_wait_s: Seconds = Field(3600, description="Longest wait while a judge says that something is missing.")
    incomplete: Literal["continue", "hold"] = Field(
        "continue", description="After `max_wait_s`: go on with the flag `incomplete`, or hold for a person."
    )
    late_arrivals: Literal["new_revision", "keep_aside"] = Field(
        "new_revision",
        description="An image after Delivered: start a new revision, or keep it aside and tell a person.",
    )
    live_studies: int = Field(256, ge=1, le=5000, description="Study actors alive at once.")


class QcSettings(Section):
    """Quality control."""

    profiles: Path | None = Field(
        None, description="Folder of site profiles (TOML); they replace shipped ones of the same id."
    )
    on_arrival: bool = Field(True, description="Measure images while they arrive.")
    workers: int = Field(0, ge=0, le=64, description="Worker processes; 0: one for each core.")
    gate: bool = Field(True, description="A failed verdict stops the study; false: report only.")


class DeidSettings(Section):
    """De-identification."""

    profile: str = Field("basic", description="De-identification profile.")
    prefix: str = Field("ANON", max_length=8, pattern=r"^[A-Z0-9]*$", description="Prefix of patient pseudonyms.")
    dates: Literal["remove", "shift", "keep"] = Field("shift", description="What becomes of dates.")


class StoreSettings(Section):
    """Objects on disk."""

    segment_bytes: int = Field(134_217_728, ge=4_194_304, description="Size of a segment file.")
    soft_margin_percent: float = Field(
        10, ge=0, le=90, description="Free space below which new associations are refused."
    )
    hard_margin_percent: float = Field(2, ge=0, le=90, description="Free space below which objects are refused.")
    sync: bool = Field(True, description="Sync before Success; only tests and benchmarks may switch it off.")


class RetentionSettings(Section):
    """What is deleted, and when."""

    delivered_days: float | None = Field(
        None, gt=0, description="Delete the objects of studies Delivered longer ago than this; unset: never."
    )
    sweep_s: Seconds = Field(3600, description="Between two sweeps.")


class CloudSettings(Section):
    """The analysis cloud."""

    adapter: Literal["none", "s3"] = Field("none", description="`none`: studies rest at QC Passed.")
    endpoint_url: str = Field("", description="S3 endpoint; empty: AWS. Must be https unless it is loopback.")
    bucket: str = Field("", description="Bucket of the contract in docs/cloud-contract.md.")
    region: str = Field("us-east-1", description="Region.")
    access_key_id: SecretStr = Field(SecretStr(""), description="Access key; empty: the environment's AWS credentials.")
    secret_access_key: SecretStr = Field(SecretStr(""), description="Secret key.")
    server_side_encryption: str = Field("", description="`AES256` or `aws:kms`; passed through.")
    multipart_bytes: int = Field(8_388_608, ge=5_242_880, description="Objects above this go in parts of this size.")
    connections: int = Field(4, ge=1, le=20, description="Parallel transfers.")
    retry_first_s: Seconds = Field(1, description="First delay after an outage; doubles with jitter.")
    retry_max_s: Seconds = Field(60, description="Longest delay after an outage.")
    refusals_max: int = Field(5, ge=1, description="Refusals of one object before the study fails.")
    poll_s: Seconds = Field(5, description="Between two looks at an order's status.")
    result_timeout_s: Seconds = Field(86_400, description="An order without a result for this long fails.")


class NotifySettings(Section):
    """One channel for notifications."""

    url: SecretStr = Field(description="apprise URL (`mailtos://…`, `jsons://…`, …).")
    on: tuple[Literal["qc_passed", "failed", "delivered", "alarm"], ...] = Field(
        ("failed", "delivered", "alarm"), description="What to tell."
    )


class WebSettings(Section):
    """The dashboard."""

    host: str = Field("127.0.0.1", description="Address; another than loopback needs TLS.")
    port: Port = Field(8080, description="Port; 0 takes a free one.")
    tls_certificate: Path | None = Field(None, description="PEM certificate chain.")
    tls_key: Path | None = Field(None, description="PEM key.")
    threads: int = Field(40, ge=4, le=500, description="Request threads.")
    session_idle_s: Seconds = Field(900, description="Logged out after this long without a request.")
    session_max_s: Seconds = Field(36_000, description="Logged out after this long in any case.")
    time_zone: str = Field("", description="Hospital time zone (IANA); empty: the machine's.")


class LogSettings(Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level written.")
    format: Literal["console", "json"] = Field("console", description="For people or for machines.")


class KeySettings(Section):
    """The master key."""

    source: Literal["file"] = Field("file", description="Where the master key comes from.")
    file: Path | None = Field(
        None, description="Key file, mode 0400 or 0600; unset: `agent.key` beside the configuration file."
    )
