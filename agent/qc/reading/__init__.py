"""From a data set to typed headers and pixels: the only part of quality control that knows pydicom."""
