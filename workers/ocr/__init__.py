"""The engines of the ocr family."""
