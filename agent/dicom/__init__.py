"""DICOM on the network: receiving, and our own requests to peers. The only package with pynetdicom."""
