"""`erc serve`: a finished run behind an HTTP API, with its encoders loaded once.

Nothing that decides a number may enter: embeddings and answers come from the functions that
`erc predict` calls. The only room that imports FastAPI, uvicorn and their kin.
"""

__all__ = ["limits", "loaded", "server"]
