"""What every part stands on: errors, files, formats, images, arrays, the machine, downloads."""
