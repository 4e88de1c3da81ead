"""What to do about a check that did not pass, in words a technologist acts on.

Job: one sentence for each check; a profile's ``[remediation]`` goes first. Place: called by the checks. It must never
name a patient, and never only repeat what is wrong.
"""
# ruff: noqa: E501 - one sentence a line

from __future__ import annotations

from collections.abc import Mapping

RESEND = "Send the series again from the PACS"

ADVICE: dict[str, str] = {
    "required": "Send the missing series, or scan it if it was not acquired; then reprocess the study.",
    "repeats": "Keep the best run and remove the others from the study in the PACS, or raise the allowed count in the profile.",
    "readable": f"{RESEND}; if the same objects fail again, export them anew from the scanner and report them to the PACS team.",
    "decode": f"{RESEND} uncompressed or losslessly compressed; damaged objects must be exported anew from the scanner.",
    "transfer_syntax": "Set the PACS to send this destination uncompressed or one of the lossless transfer syntaxes of the profile.",
    "lossy": "Get the original images from the scanner or archive: lossy compression cannot be undone. Switch it off on this route.",
    "duplicates": "Find out why images were sent twice (two routing rules, a resend, a copied series) and send the series once.",
    "sop_conflict": "Two different images carry the same SOP Instance UID: have the PACS administrator find the wrong one, then resend.",
    "identity": "Images of different patients or studies are mixed. Do not use the study; correct it in the PACS and resend.",
    "complete": f"{RESEND}; if it is complete there, repeat or re-export it from the scanner.",
    "header_count": "Compare the number of images on the scanner with the PACS and send those that are missing.",
    "incomplete": "Send what is missing from the PACS; a new image starts a new revision by itself.",
    "elements": "Have the listed elements filled in at the scanner or kept by the export (check the de-identification of the sender).",
    "PatientAge": "Correct the patient's age at the modality worklist (three digits and a unit, such as 060Y) and resend.",
    "PatientSex": "Correct the patient's sex at the modality worklist (M or F) and resend.",
    "orientation": "The slices do not form one stack: send the series without reformatted or localizer images, or repeat it in one block.",
    "spacing": "Slices are missing or unevenly placed: resend the series; if it was scanned so, repeat it as one block with even spacing.",
    "matrix": "Images of different size are mixed in one series: send the original series only.",
    "consistency": "Parameters change inside the series: send the original series only, or repeat it with one protocol.",
    "in_plane_mm": "Set field of view and matrix on the scanner so that the pixel size lies in the range, and repeat.",
    "SliceThickness": "Load the reference protocol: the slice thickness is not as required. Repeat the series with it.",
    "slice_gap_mm": "Set the slice gap (distance factor) as required and repeat the series.",
    "n_slices": "Set the number of slices so that the whole brain is covered, and repeat; or resend if the scanner has them all.",
    "slice_order": "Set interleaved slice order in the protocol and repeat the series.",
    "echo_planar": "The protocol asks for a single-shot echo-planar sequence: load the reference protocol and repeat.",
    "parameter": "Set {title} to {limit}: load the reference protocol on the scanner and repeat the series.",
    "shells": "Re-export the series with all b values, or repeat it with the b values of the protocol.",
    "b0_min": "Re-export the series with all b = 0 volumes, or repeat the scan with at least the required number.",
    "directions_min": "Re-export the series with all directions, or repeat the scan with at least the required number of directions.",
    "directions_known": "Keep the diffusion elements on export: a sender's de-identification or the PACS removed them.",
    "direction_condition_max": "The directions are poorly spread: load the direction table of the reference protocol and repeat.",
    "dropout_fraction": "The patient moved during the marked slices: repeat the diffusion scan if the patient is still available.",
    "ndc": "Neighbouring volumes do not agree (motion, distortion or interference): look at the pictures and repeat the scan.",
    "b0_snr": "Signal is low: check the coil (all elements plugged in and selected) and repeat.",
    "apparent_md": "Signal and b values do not fit together: check that b values and volumes are in their right places, then re-export.",
    "volume_drift_mm": "The head moved between volumes: pad the head and repeat the scan.",
    "coverage_si_mm": "Extend the stack so that the whole brain is covered, vertex to cerebellum, and repeat.",
    "end_slices_share": "The stack cuts the brain: move or extend it and repeat.",
    "ghost_pe_pct": "Look for ghosts along phase encoding in the pictures; repeat after shimming, or with the head padded against motion.",
    "ghost_half_fov": "Look for a half-field ghost in the pictures; re-shim, repeat, and have the service check the gradients if it stays.",
    "edge_energy": "Signal wraps around: enlarge the field of view along phase encoding or use oversampling.",
    "noise_pct": "The images are noisy: check coil and positioning; compare with an earlier scan of the same protocol.",
    "snr_air": "Signal is low against the noise of the air: check coil elements, shim and bandwidth.",
    "snr_tissue": "Signal to noise of tissue is low: check the coil and compare with an earlier scan.",
    "slice_outliers": "Single slices are brighter or darker than their neighbours: look at the marked slices; repeat if diagnostic.",
    "saturated_share": "Pixels are at the largest value: check scaling on export; repeat with lower receiver gain if acquired so.",
    "blank_slices": "Slices hold no signal: re-export the series; repeat it if they are blank on the scanner too.",
    "noise_hu": "Noise is high for this protocol: check dose, kernel and slice thickness against the reference protocol.",
    "air_hu": "Air is not at −1000 HU: check the rescale values on export; have the scanner calibrated if they are right.",
    "metal_share": "Metal in the field causes streaks: remove what can be removed, use metal artefact reduction.",
    "truncation_share": "The body leaves the field of view: centre the patient or enlarge the reconstruction field.",
    "vertical": "Acquire the paired series with the same geometry, or copy it on the scanner, and repeat the one that differs.",
}  # fmt: skip


def advise(key: str, check_id: str, remediation: Mapping[str, str]) -> str:
    """Return the advice for a check: the profile's words, or the shipped ones for `key`."""
    return remediation.get(check_id) or ADVICE.get(key) or ADVICE["parameter"]
