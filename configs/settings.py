"""The settings of the application, written under `args:` in serve_config.yaml and the presets.

Resources and scale (`num_gpus`, replicas, autoscaling) are Ray Serve's own options and stand under
`deployments:` in the same file. Relative paths are taken from `state_directory`, and are absolute once the
settings have been read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    field_validator,
    model_validator,
)

from configs.checks import http_url, named_origins, without_password
from configs.domain import code_count

PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""The folder with the code: a clone of the repository, or site-packages where the package was installed."""

PROMPT_TOKENS = 1024
"""Smallest room for the LM's prompt, in tokens: its template, the metadata and the words of a short song."""

REDIS_SCHEMES = ("redis", "rediss", "unix")
"""URL schemes of a job store in Redis."""

Device = Literal["cpu", "cuda"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
"""`auto` is bfloat16 on a GPU and on a CPU with bfloat16 instructions, and float32 on other CPUs."""
Backend = Literal["vllm", "pt"]
_SHARE_OF_CORES = "its share of the cores, or all of them while no other engine on the machine is busy"


_state_directory: ContextVar[Path | None] = ContextVar("state_directory", default=None)
"""The `state_directory` of the settings that are being read; None where they name none."""


def default_state_directory() -> Path:
    """The clone that the code runs from, or the current directory where the package was installed.

    Data must not end up in site-packages, where the next installation would delete it.
    """
    return PROJECT_ROOT if (PROJECT_ROOT / "pyproject.toml").is_file() else Path.cwd()


@contextmanager
def _relative_to(directory: Path | None) -> Iterator[None]:
    token = _state_directory.set(directory)
    try:
        yield
    finally:
        _state_directory.reset(token)


def state_path(path: Path) -> Path:
    """An absolute path stays; a relative one is taken from the state directory."""
    return path if path.is_absolute() else (_state_directory.get() or default_state_directory()) / path


def _state_path_unless_url(location: str) -> str:
    return location if location == "memory" or "://" in location else str(state_path(Path(location)))


StatePath = Annotated[Path, AfterValidator(state_path)]
PathOrUrl = Annotated[str, AfterValidator(_state_path_unless_url)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ModelSettings(_Section):
    """The checkpoints to serve and their source."""

    source: Literal["embedded", "random", "folder", "hub"] = Field(
        "embedded",
        description="embedded: the small model that comes with this project; random: an untrained one; "
        "folder: checkpoints in `folder`; hub: downloaded from the Hugging Face hub into `folder`.",
    )
    folder: StatePath = Field(
        Path("models"),
        description="Folder with one subfolder per checkpoint; the embedded ones need none.",
        validate_default=True,
    )
    dits: tuple[str, ...] = Field(
        ("acestep-v15-turbo",),
        min_length=1,
        description="DiT checkpoints, original or diffusers layout, each a Generator deployment of its own; "
        "the first is the default. `dit: NAME`, the setting of earlier releases, means `dits: [NAME]`.",
    )
    language_models: tuple[str, ...] = Field(
        ("acestep-5Hz-lm-0.6B",),
        min_length=1,
        description="5Hz LM checkpoints, each a deployment of its own; the first is the default.",
    )
    text_encoder: str = Field("Qwen3-Embedding-0.6B", description="Text encoder (original layout).")
    vae: str = Field("vae", description="VAE checkpoint (original layout).")
    adapters: tuple[PathOrUrl, ...] = Field(
        (),
        description="Folders of adapters (LoRA, DoRA, LoKr) that requests may name, as paths or fsspec URIs "
        "(docs/adapters.md). Every node reads them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_the_setting_of_earlier_releases(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "dit" not in given:
            return given
        if "dits" in given:
            raise ValueError("models.dit is the former name of models.dits: give only models.dits")
        return {name: value for name, value in given.items() if name != "dit"} | {"dits": [given["dit"]]}

    @field_validator("dits", "language_models")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a checkpoint is named twice: use num_replicas for more replicas of one")
        return names

    @property
    def defaults(self) -> frozenset[str]:
        """The checkpoints that a request uses unless it names others."""
        return frozenset({self.dits[0], self.language_models[0]})

    @property
    def generator_deployments(self) -> dict[str, str]:
        """The name of each DiT's deployment in the config file, by checkpoint."""
        return _deployment_names("Generator", self.dits)

    @property
    def language_model_deployments(self) -> dict[str, str]:
        """The name of each language model's deployment in the config file, by checkpoint."""
        return _deployment_names("LanguageModel", self.language_models)


def _deployment_names(kind: str, checkpoints: tuple[str, ...]) -> dict[str, str]:
    """The default's deployment is named after its kind alone, each other one also after its checkpoint."""
    default, *others = checkpoints
    return {default: kind} | {name: f"{kind}-{name}" for name in others}


class LanguageModelSettings(_Section):
    """The LanguageModel deployment of each language model."""

    backends: tuple[Backend, ...] = Field(
        ("vllm", "pt"),
        min_length=1,
        description="Engines that a request may name. The first is the default and starts with the replica; "
        "each other one starts when a request first names it, and loads the weights once more.",
    )
    device: Device = Field("cpu", description="Where the engines run.")
    dtype: DType = Field(
        "float32", description="Type of weights and activations; auto: bfloat16 where the device supports it."
    )
    max_model_len: int = Field(
        32768,
        ge=PROMPT_TOKENS,
        description="Context in tokens: the prompt and the codes of the longest song, five per second.",
    )
    max_num_seqs: int = Field(16, ge=2, description="Rows decoded together; a guided run takes two.")
    kv_cache_bytes: int | None = Field(
        256 << 20,
        description="vLLM's KV cache in bytes. null: what `gpu_memory_utilization` leaves; use it only on a "
        "GPU that nothing else uses: beside others vLLM measures wrongly or fails with an assertion.",
    )
    gpu_memory_utilization: float = Field(
        0.3,
        gt=0,
        le=1,
        description="vLLM's share of the GPU's whole memory, including its weights (GPU only).",
    )
    cuda_graphs: bool = Field(
        True,
        description="On a GPU: capture vLLM's decode steps as CUDA graphs at the start. Without them a step "
        "takes several times as long, but the start some seconds less. Ignored on a CPU.",
    )
    async_scheduling: bool = Field(
        True,
        description="On a GPU: let vLLM prepare a step while the GPU computes the one before it. It writes "
        "the same tokens. Ignored on a CPU.",
    )
    threads: int | None = Field(
        None, ge=1, description=f"CPU threads of each engine; null: {_SHARE_OF_CORES}."
    )
    lm_max_duration: int = Field(
        30, ge=10, le=600, description="Longest duration that the LM may choose by itself, seconds."
    )

    @model_validator(mode="after")
    def _attention_takes_the_type(self) -> Self:
        if self.device == "cuda" and self.dtype == "float32" and "vllm" in self.backends:
            raise ValueError(
                "language_model.dtype is float32, and vLLM's attention on a GPU takes 16 bits: set bfloat16"
            )
        return self


class GeneratorSettings(_Section):
    """The Generator deployment of each DiT, with its encoders, tokenizer and detokenizer."""

    device: Device = Field("cpu", description="Where the DiT runs.")
    dtype: DType = Field(
        "float32", description="Type of weights and activations, or auto; latents stay float32."
    )
    threads: int | None = Field(
        None, ge=1, description=f"CPU threads of the replica; null: {_SHARE_OF_CORES}."
    )
    tokens_per_forward: int = Field(
        1024,
        ge=1,
        description="Tokens in one forward: each song has 12.5 per second, twice that if it is guided. "
        "A song with more tokens steps alone.",
    )
    adapter_bytes: int = Field(
        1 << 30,
        ge=1,
        description="Bytes of the device's memory for adapters. Those in use stay; of the others the least "
        "recently used go first.",
    )
    compiled: bool = Field(
        True,
        description="On a GPU: compile small operations of the DiT into fewer kernels at the start, "
        "which needs a C compiler. Ignored on a CPU.",
    )


class CodecSettings(_Section):
    """The Codec deployment: VAE and audio files."""

    device: Device = Field("cpu", description="Where the VAE runs.")
    dtype: DType = Field("float32", description="Type of the VAE's weights and activations, or auto.")
    threads: int | None = Field(
        None, ge=1, description=f"CPU threads of the replica; null: {_SHARE_OF_CORES}."
    )
    tile_frames: int = Field(256, ge=64, description="Latent frames of a decoding tile.")
    tile_batch: int = Field(1, ge=1, description="Tiles decoded in one forward.")
    compiled: bool = Field(
        True,
        description="On a GPU: compile each activation function of the VAE into one kernel at the start, "
        "which needs a C compiler. Ignored on a CPU.",
    )


class ApiSettings(_Section):
    """Limits and defaults of the HTTP API."""

    default_batch_size: int = Field(2, ge=1, le=64, description="Songs per job when batch_size is null.")
    max_batch_size: int = Field(8, ge=1, le=64, description="Largest batch_size.")
    max_duration: float = Field(600.0, gt=0, le=600, description="Longest song or source, seconds.")
    max_upload_bytes: int = Field(256_000_000, ge=1, description="Largest request body, bytes.")
    audio_roots: tuple[StatePath, ...] = Field(
        (), description="Folders that *_audio_path may point into; empty: uploads and own results only."
    )
    uploads_bytes: int | None = Field(
        None,
        ge=1,
        description="Bytes of all request bodies that one replica receives and reads at the same time; "
        "further bodies are refused with 503. null: room for eight of the largest.",
    )
    open_requests: int = Field(
        2_000,
        ge=1,
        description="Long polls, event streams, downloads, chats, submits and bodies for the ACE-Step API "
        "that one replica may have open; more are refused with 503. `max_ongoing_requests` of the deployment "
        "Ingress (2,500) has to be larger: the difference is for short requests, such as `/health`.",
    )
    client_requests: int = Field(
        250,
        ge=1,
        description="Long polls that one client may have open on a replica; the same number holds for event "
        "streams, for chats and for bodies without files. More are refused with 429.",
    )
    client_uploads: int = Field(
        16, ge=1, description="Bodies with files that one client may have open on a replica."
    )
    client_downloads: int = Field(
        64, ge=1, description="Songs that one client may be fetching from a replica."
    )
    body_timeout_seconds: float = Field(300.0, gt=0, description="Seconds that sending a body may take.")
    keys_file: StatePath | None = Field(
        None,
        description="YAML file of the API keys (`python -m serve_app.admin make-key`); the environment "
        "variable ACESTEP_API_KEYS may hold the same. Without either, everybody may use the server. "
        "The file is read again while the server runs.",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks of reverse proxies whose X-Forwarded-For is trusted to name the client."
    )
    audio_token_seconds: float = Field(
        3600.0,
        gt=0,
        description="With API keys: seconds for which the signed audio URLs of an answer are valid.",
    )
    cors_origins: Annotated[tuple[str, ...], AfterValidator(named_origins)] = Field(
        (),
        description="Web origins whose pages may use the API from a browser: `https://studio.example`; "
        "`http://localhost:*` for any port; `null` for pages that were opened from a file, and for frames "
        "that any site can make.",
    )
    studio: bool = Field(
        True, description="Serve the studio, a page on which one makes music, at `/` (docs/studio.md)."
    )
    mcp: bool = Field(
        True, description="Serve the Model Context Protocol for agents at `/mcp` (docs/agents.md)."
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names and addresses under which the server answers; empty: any. Without API keys this "
        "protects against DNS rebinding: web pages whose own name was made to point to the server.",
    )

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        if self.default_batch_size > self.max_batch_size:
            raise ValueError("api.default_batch_size is above api.max_batch_size")
        return self

    @model_validator(mode="after")
    def _largest_upload_fits(self) -> Self:
        if self.uploads_bytes is not None and self.max_upload_bytes > self.uploads_bytes:
            raise ValueError("api.max_upload_bytes is above api.uploads_bytes: raise that, too")
        return self


class RecordingSettings(_Section):
    """How recordings from clients are decoded, each in a process of its own (docs/security.md)."""

    processes: int = Field(
        2, ge=1, description="Recordings that one ingress replica decodes at a time; further ones wait."
    )
    memory_bytes: int = Field(
        1_000_000_000,
        ge=400_000_000,
        description="Address space of such a process, bytes; Python and its libraries take 200 MB.",
    )
    cpu_seconds: int = Field(60, ge=1, description="Processor time of such a process, seconds.")


class JobSettings(_Section):
    """The queue and the running of jobs."""

    tracker_name: str = Field("acestep-job-tracker", description="Name of the JobTracker actor.")
    tracker_namespace: str = Field("acestep", description="Ray namespace of the JobTracker actor.")
    store: Annotated[
        PathOrUrl,
        without_password("put it into the environment, ACESTEP_REDIS_PASSWORD"),
    ] = Field(
        "output/jobs.sqlite3",
        description="Where jobs are kept: the path of an SQLite file, redis://host:port/db, "
        "unix:///path/of/redis.sock, or memory.",
        validate_default=True,
    )
    queue_limit: int = Field(200, ge=1, description="Jobs that may wait; more are refused with 429.")
    client_jobs: int = Field(200, ge=1, description="Jobs of one client that may wait or run at a time.")
    client_rate: float = Field(
        10.0, gt=0, description="Jobs that one client may submit each second, on average; more: 429."
    )
    client_burst: int | None = Field(
        None,
        ge=1,
        description="Jobs that a client may submit at once after a pause, before client_rate counts; null: "
        "client_jobs, but at least 200.",
    )
    client_bytes: int = Field(
        20_000_000_000, ge=1, description="Bytes that one client's songs and recordings may take."
    )
    runners: int = Field(2, ge=1, description="Jobs that one ingress replica runs at a time.")
    lease_seconds: float = Field(
        30.0, gt=0, description="A job is requeued when its runner was silent for this long."
    )
    heartbeat_seconds: float = Field(
        2.0, gt=0, description="How often a runner renews its lease and reports progress."
    )
    max_attempts: int = Field(3, ge=1, description="Attempts at a job before it fails for good.")
    plan_timeout_seconds: float = Field(
        60.0, gt=0, description="A language model that is silent for this long counts as down for metadata."
    )
    timeout_seconds: float = Field(
        3600.0, gt=0, description="A job fails when one attempt takes longer than this."
    )
    initial_job_seconds: float = Field(
        5.0, gt=0, description="Estimated seconds per job until a first job has finished."
    )

    @property
    def keeps_a_file(self) -> bool:
        """Whether the store is an SQLite file on the disk of one machine."""
        return self.store != "memory" and "://" not in self.store

    @field_validator("store")
    @classmethod
    def _of_a_known_kind(cls, store: str) -> str:
        scheme, separator, _ = store.partition("://")
        if separator and scheme not in REDIS_SCHEMES:
            raise ValueError(
                f"jobs.store begins with {scheme}://, and can only be the path of an SQLite file, memory, or "
                f"a Redis ({', '.join(f'{known}://' for known in REDIS_SCHEMES)})"
            )
        return store

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if 2 * self.heartbeat_seconds > self.lease_seconds:
            raise ValueError(
                "jobs.heartbeat_seconds is above half of jobs.lease_seconds: leases would run out"
            )
        return self


class StorageSettings(_Section):
    """Where uploads and results are kept, and for how long. A job's recordings are deleted when it ends."""

    uri: Annotated[
        PathOrUrl,
        without_password("put it into the environment, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ] = Field("output", description="fsspec URI, or a path.", validate_default=True)
    redirect_seconds: int | None = Field(
        None,
        ge=1,
        le=7 * 24 * 3600,
        description="For s3:// only: songs are answered with a redirect to a URL signed for S3 and "
        "valid for this long; null: the server sends them itself.",
    )
    result_seconds: float = Field(
        24 * 3600.0, gt=0, description="Seconds after a job's end for which its songs are kept."
    )
    record_seconds: float = Field(
        7 * 24 * 3600.0, gt=0, description="Seconds after a job's end for which it can be polled."
    )
    usage_days: int = Field(400, ge=1, description="Days for which the figures of `GET /v1/usage` are kept.")
    client_cancelled: int = Field(
        1000,
        ge=1,
        description="Cancelled jobs of one client that can be polled; if it has more, the oldest go early.",
    )
    max_bytes: int = Field(
        50_000_000_000,
        ge=1,
        description="When songs and recordings take more than this, the oldest songs are deleted early.",
    )
    min_free_bytes: int = Field(
        500_000_000,
        ge=0,
        description="While the disk of the songs or of the SQLite file has less free space, new jobs are "
        "refused with 503. The rest of the space is for the jobs that were accepted.",
    )
    sweep_seconds: float = Field(
        10.0, gt=0, description="Seconds between two searches for expired songs and jobs."
    )

    @model_validator(mode="after")
    def _only_s3_signs_urls(self) -> Self:
        if self.redirect_seconds is not None and not self.uri.startswith("s3://"):
            raise ValueError("storage.redirect_seconds is for a storage.uri that begins with s3://")
        return self


class WebhookSettings(_Section):
    """How `callback_url` is told of the events of a job: by default of its end (`callback_events`)."""

    max_attempts: int = Field(8, ge=1, description="Deliveries tried for a callback before it is given up.")
    first_retry_seconds: float = Field(
        2.0, gt=0, description="Pause after the first failed delivery; each later one is twice as long."
    )
    timeout_seconds: float = Field(10.0, gt=0, description="How long one delivery may take.")
    allow_private_addresses: bool = Field(
        False, description="Whether callbacks may go to private, loopback and link-local addresses."
    )
    proxy: (
        Annotated[
            str,
            without_password("put it into the environment, ACESTEP_WEBHOOK_PROXY_PASSWORD"),
            AfterValidator(http_url),
        ]
        | None
    ) = Field(
        None,
        description="URL of an HTTP proxy that makes the connections, such as http://user@proxy:3128. The "
        "proxy resolves names, so it must refuse addresses that are not public; the server itself only "
        "checks literal addresses, when a job is submitted.",
    )


class TracingSettings(_Section):
    """OpenTelemetry traces of jobs (docs/tracing.md)."""

    exporter: Literal["otlp", "file"] | None = Field(
        None,
        description="otlp: to the collector that the environment variable OTEL_EXPORTER_OTLP_ENDPOINT names; "
        "file: as JSON lines into `folder`; null: no traces.",
    )
    folder: StatePath = Field(
        Path("output/traces"),
        description="Folder into which each process writes a file of its spans.",
        validate_default=True,
    )
    sampling_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the jobs that are traced; a job is traced whole or not at all."
    )


class ProvenanceSettings(_Section):
    """Marks in songs, which say that they were generated (docs/provenance.md)."""

    tags: bool = Field(True, description="Write generator, models, seed and IPTC's digital source type.")
    certificate: StatePath | None = Field(
        None,
        description="PEM file with the certificate for signed C2PA manifests, and with those of its issuers. "
        "null: no manifests. `python -m serve_app.admin make-certificate` makes one for development.",
    )
    private_key: StatePath | None = Field(
        None, description="PEM file with the private key of the certificate, without a password."
    )

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("provenance.certificate and provenance.private_key belong together")
        return self


class Settings(_Section):
    """All settings, the argument of `serve_app.app:build`."""

    state_directory: Path = Field(
        default_factory=default_state_directory,
        description="Folder from which relative paths in these settings are taken. The default is the clone "
        "that the server runs from, or the current directory where the package was installed, and a relative "
        "folder is taken from there. On a cluster every node needs the same.",
    )
    models: ModelSettings = Field(default_factory=ModelSettings)
    language_model: LanguageModelSettings = Field(default_factory=LanguageModelSettings)
    generator: GeneratorSettings = Field(default_factory=GeneratorSettings)
    codec: CodecSettings = Field(default_factory=CodecSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    recordings: RecordingSettings = Field(default_factory=RecordingSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    provenance: ProvenanceSettings = Field(default_factory=ProvenanceSettings)

    @model_validator(mode="wrap")
    @classmethod
    def _with_paths_from_the_state_directory(
        cls, given: Any, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        directory = given.get("state_directory") if isinstance(given, dict) else None
        if directory is None:
            return handler(given)
        absolute = default_state_directory() / TypeAdapter(Path).validate_python(directory)
        with _relative_to(absolute):
            return handler({**given, "state_directory": absolute})

    @property
    def uses_gpu(self) -> bool:
        """Whether any model runs on a GPU."""
        return "cuda" in {self.language_model.device, self.generator.device, self.codec.device}

    @model_validator(mode="after")
    def _language_model_keeps_to_the_longest_song(self) -> Self:
        if self.language_model.lm_max_duration > self.api.max_duration:
            raise ValueError(
                f"language_model.lm_max_duration ({self.language_model.lm_max_duration} s) is longer than "
                f"api.max_duration ({self.api.max_duration:g} s): lower one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _longest_song_fits_the_language_model(self) -> Self:
        codes = code_count(self.api.max_duration)
        if self.language_model.max_model_len < codes + PROMPT_TOKENS:
            raise ValueError(
                f"language_model.max_model_len is {self.language_model.max_model_len}, but a song of "
                f"api.max_duration ({self.api.max_duration:g} s) takes {codes} audio codes and its prompt "
                f"{PROMPT_TOKENS} tokens or more: raise it to {codes + PROMPT_TOKENS} at least, or lower "
                "api.max_duration"
            )
        return self
