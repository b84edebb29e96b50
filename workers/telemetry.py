"""Keeping libraries from reporting home. ONNX Runtime does so from Linux too, since 1.31."""

NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Variables that must be in a process's environment before it imports the libraries."""
