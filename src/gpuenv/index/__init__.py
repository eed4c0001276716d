"""Where distributions come from: simple APIs (PEP 503, 691), folders of wheels, wheels behind direct URLs.

Importing this package is cheap: the HTTP library, asyncio and TLS come in when a client is entered.
"""

from gpuenv.index.client import IndexClient
from gpuenv.index.location import default_index

__all__ = ["IndexClient", "default_index"]
