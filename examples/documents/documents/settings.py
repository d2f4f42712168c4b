"""What the environment decides. LESSOR_SERVER names the broker; the client reads that itself."""

from __future__ import annotations

import os
from pathlib import Path

#: Stands for the bucket.
FOLDER = Path(os.environ.get("DOCUMENTS_FOLDER", "data"))
#: For how many seconds a worker may be silent before others get its documents.
LEASE = float(os.environ.get("DOCUMENTS_LEASE", "30"))
CONCURRENCY = int(os.environ.get("DOCUMENTS_CONCURRENCY", "5"))

DOCUMENTS = "document_processing"
CLEANUP = "cleanup_tasks"
QUEUES = (DOCUMENTS, CLEANUP)
