"""Wordings of providers' errors, as data: what each says, and where that was seen.

Patterns are searched without regard to case. Named groups ``limit`` and ``prompt`` are token
counts. A new wording is a line here and its text in ``tests/data/provider_errors.json``.
"""

import re
from dataclasses import dataclass

from evocodec.domain.vocabulary import CallOutcome


@dataclass(frozen=True, slots=True)
class Wording:
    """A pattern of an error's text or code, and its source."""

    pattern: re.Pattern[str]
    source: str


def _words(pattern: str, source: str) -> Wording:
    return Wording(re.compile(pattern, re.IGNORECASE | re.DOTALL), source)


_N = r"\d[\d,_]*"

CONTEXT = (
    _words(
        rf"maximum context length is (?P<limit>{_N}) tokens?.{{0,60}}?requested (?:about )?{_N} "
        rf"tokens? \((?P<prompt>{_N}) (?:in|of) (?:the|your|text) (?:messages|prompt|input)",
        "OpenAI, vLLM, OpenRouter, DeepSeek: 'you requested 41700 tokens (25700 in the messages'",
    ),
    _words(
        rf"maximum context length is (?P<limit>{_N}) tokens? and your request has (?P<prompt>{_N})",
        "vLLM serving_engine: 'max_tokens is too large … your request has N input tokens'",
    ),
    _words(
        rf"maximum context length is (?P<limit>{_N}) tokens?.{{0,60}}?(?:resulted in|contains at "
        rf"least|prompt contains) (?P<prompt>{_N})",
        "OpenAI: 'your messages resulted in N tokens'; vLLM: 'your prompt contains at least N'",
    ),
    _words(
        rf"input length and `?max_tokens`? exceed context limit: (?P<prompt>{_N}) \+ {_N} > "
        rf"(?P<limit>{_N})",
        "Anthropic Messages API",
    ),
    _words(rf"prompt is too long: (?P<prompt>{_N}) tokens > (?P<limit>{_N}) maximum", "Anthropic"),
    _words(
        rf"input token count \(?(?P<prompt>{_N})?\)? ?exceeds the maximum number of tokens allowed"
        rf" \(?(?P<limit>{_N})?",
        "Gemini, Vertex AI",
    ),
    _words(
        rf"maximum prompt length is (?P<limit>{_N}) but the request contains (?P<prompt>{_N})",
        "xAI",
    ),
    _words(
        rf"request \((?P<prompt>{_N}) tokens\) exceeds the available context size "
        rf"\((?P<limit>{_N}) tokens\)",
        "llama.cpp server",
    ),
    _words(
        rf"requested tokens \((?P<prompt>{_N})\) exceed context window of (?P<limit>{_N})",
        "llama-cpp-python",
    ),
    _words(
        rf"`?inputs`? tokens \+ `?max_new_tokens`? must be <= (?P<limit>{_N})\.? Given: "
        rf"(?P<prompt>{_N})",
        "TGI, Together; litellm exception_mapping_utils",
    ),
    _words(
        rf"`?inputs`? must have less than (?P<limit>{_N}) tokens\.? Given: (?P<prompt>{_N})",
        "TGI router/src/validation.rs",
    ),
    _words(
        rf"current length is (?P<prompt>{_N}) while limit is (?P<limit>{_N})",
        "Cerebras; litellm exception_mapping_utils",
    ),
    _words(
        rf"prompt contains (?P<prompt>{_N}) tokens.{{0,60}}?too large for model with "
        rf"(?P<limit>{_N})",
        "Mistral; badlogic/pi-mono overflow.ts",
    ),
    _words(
        rf"exceeded model token limit:? (?P<limit>{_N})(?: \(requested: {_N}\))?",
        "Moonshot Kimi; badlogic/pi-mono overflow.ts",
    ),
    _words(
        rf"input length \((?P<prompt>{_N})(?: tokens)?\).{{0,30}}?(?:exceeds|longer than) the "
        rf"(?:model'?s )?(?:maximum )?(?:allowed |context )?length(?: of)? \(?(?P<limit>{_N})",
        "SGLang tokenizer_manager: 'is longer than the model's context length'",
    ),
    _words(
        rf"prompt token count of (?P<prompt>{_N}) exceeds the limit of (?P<limit>{_N})",
        "GitHub Copilot, GitHub Models",
    ),
    _words(r"context[_ -]?(?:length|window|size)[_ -]?exceeded", "OpenAI, Groq, LM Studio: code"),
    _words(r"model_context_window_exceeded|exceed_context_size", "Anthropic, llama.cpp: types"),
    _words(r"maximum context (?:length|size|limit)|max(?:imum)?_context_length", "OpenAI and kin"),
    _words(
        r"context window (?:is )?(?:full|exceeds)|exceeds? (?:the|this model's|its) context",
        "OpenAI Responses: 'Your input exceeds the context window'; MiniMax",
    ),
    _words(
        r"exceeds? (?:the )?(?:available |model'?s? )?context|exceeds? context (?:limit|window)",
        "llama.cpp; Anthropic",
    ),
    _words(r"longer than the (?:model'?s )?context length", "SGLang"),
    _words(r"input length exceeds (?:the )?context length", "Ollama embeddings and truncate=false"),
    _words(
        r"prompt (?:is )?too long|input (?:is )?too long|request is too long",
        "Anthropic; Amazon Bedrock: 'Input is too long for requested model'; Cohere",
    ),
    _words(
        r"maximum number of tokens allowed|maximum (?:input|prompt|model) length is",
        "Gemini; xAI; Alibaba",
    ),
    _words(r"range of input length should be \[\d+, (?P<limit>\d+)\]", "Alibaba Qwen, DashScope"),
    _words(
        r"reduce the length of the (?:messages|prompt|input)|reduce your prompt", "Groq, OpenAI"
    ),
    _words(
        r"trying to keep the first \d+ tokens|greater than the context length",
        "LM Studio; lmstudio-bug-tracker #237, #546",
    ),
    _words(r"(?:inputs?|prompt)\W+tokens?.{0,40}must be <=|must be <= \d+", "TGI, Together"),
    _words(
        r"too many (?:input )?tokens(?! per)|token limit exceeded|exceeds token limit",
        "Cohere, HuggingFace",
    ),
    _words(
        r"exceeds? the configured limit|exceed the limit of \d+ tokens|tokens? in (?:the )?"
        r"(?:request|prompt) (?:more than|exceeds?) (?:the )?max",
        "OpenAI; Zhipu",
    ),
    _words(
        r"prompt exceeds (?:the )?(?:length limit|max(?:imum)?)|exceeds? (?:the )?max(?:imum)? "
        r"(?:sequence|input|prompt|model|context) (?:length|tokens)",
        "Z.ai; TensorRT-LLM",
    ),
    _words(
        r"(?:prompt|input|request)\b.{0,40}\bexceeds? (?:the )?(?:max_model_len|max_seq_len|"
        r"max_input_tokens|n_ctx)",
        "vLLM; exllama; LiteLLM pre-call checks",
    ),
    _words(
        r"string[ _](?:too[ _]long|above_max_length).{0,80}messages|expected a string with "
        r"maximum length",
        "OpenAI: one message of more than a million characters",
    ),
    _words(
        r"not enough (?:kv )?cache (?:space|memory)|kv cache (?:is )?(?:full|exhausted)",
        "llama.cpp, MLC",
    ),
)
"""A prompt that does not fit into the model's context, alone or together with ``max_tokens``."""

TOO_LARGE_FOR_RATE = (
    _words(
        rf"request too large for .{{0,120}}?limit:? (?P<limit>{_N}),? requested:? {_N}",
        "OpenAI and Groq, status 429 or 413: tokens per minute",
    ),
    _words(r"request too large|(?:input or output )?tokens must be reduced", "OpenAI, status 429"),
)
"""A request that no pause makes small enough for a rate."""

QUOTA = (
    _words(
        r"insufficient[_ ](?:quota|funds|balance|credits?)", "OpenAI code; DeepSeek; OpenRouter"
    ),
    _words(r"exceeded your current quota", "OpenAI; simonw/llm #494"),
    _words(r"billing[_ ]hard[_ ]limit|billing[_ ]not[_ ]active|account is not active", "OpenAI"),
    _words(
        r"credit balance is too low|out of credits?|more credits|credits? (?:have been )?"
        r"(?:exhausted|depleted)",
        "Anthropic; OpenRouter; HuggingFace",
    ),
    _words(
        r"monthly (?:included )?(?:credits|spend|limit|quota)|spend(?:ing)? limit|"
        r"budget (?:has been |limit )?exceeded",
        "HuggingFace; Google; LiteLLM budgets",
    ),
    _words(r"arrearage|overdue[- ]payment|payment required", "Alibaba; qwen-code #73"),
)
"""Nothing is left to pay with: waiting does not help."""

KEY = (
    _words(
        r"(?:invalid|incorrect|wrong|missing|expired|malformed|no) (?:x-)?(?:api|auth\w*)[-_ ]?"
        r"(?:key|token)",
        "xAI and Gemini answer 400; LiteLLM",
    ),
    _words(
        r"api[-_ ]?key (?:is )?(?:not valid|not found|invalid|expired|required|missing)|"
        r"api_key_invalid|invalid_api_key",
        "Gemini, OpenAI: code",
    ),
    _words(r"authentication[_ ](?:error|failed)|unauthori[sz]ed|permission_denied", "types"),
)
MODEL = (
    _words(
        r"model[_ ]not[_ ](?:found|exist)|not a valid model|unknown model|invalid model|"
        r"no such model",
        "OpenAI code; OpenRouter 400; DeepSeek 400",
    ),
    _words(
        r"models? [`'\"]?[\w./:@-]+[`'\"]? (?:does not exist|not found|is not (?:found|"
        r"available|supported))|DeploymentNotFound",
        "OpenAI; Ollama; Gemini; Azure",
    ),
)
RATE = (
    _words(
        r"rate[-_ ]?limit|too many requests|tokens per (?:min|day)|requests per (?:min|day)|"
        r"resource[_ ]?exhausted|capacity exceeded|throttl",
        "OpenAI, Google, Mistral, AWS",
    ),
)
BUSY = (
    _words(
        r"overloaded|server[_ ]error|internal[_ ](?:server[_ ])?error|unavailable|timed? ?out|"
        r"try again later|bad gateway|upstream",
        "Anthropic, OpenAI, Cloudflare",
    ),
)
BY_WORDS: tuple[tuple[CallOutcome, tuple[Wording, ...]], ...] = (
    (CallOutcome.QUOTA, QUOTA),
    (CallOutcome.RATE_LIMITED, RATE),
    (CallOutcome.AUTHENTICATION, KEY),
    (CallOutcome.NOT_FOUND, MODEL),
    (CallOutcome.SERVER_ERROR, BUSY),
)
"""What an error is that has no status of its own, by the first group that knows its words."""
OF_BAD_REQUESTS = tuple(
    (name, words)
    for name, words in BY_WORDS
    if name in (CallOutcome.QUOTA, CallOutcome.AUTHENTICATION, CallOutcome.NOT_FOUND)
)
"""The same for an error that says only that the request was bad."""


def find(wordings: tuple[Wording, ...], text: str) -> re.Match[str] | None:
    """Return the first match in a text, or None."""
    return next((m for m in (w.pattern.search(text) for w in wordings) if m), None)


def number(match: re.Match[str], name: str) -> int:
    """Return the count in a group of a match; 0 where it has none."""
    found = match.groupdict().get(name)
    return int(re.sub(r"\D", "", found)) if found else 0
