"""A DICOM destination that never loses an image it acknowledged, checks it, lets nothing identifiable out, and brings the report back."""
