"""The cloud that analyses studies: contract, adapter, upload, results."""
