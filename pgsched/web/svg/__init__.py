"""Pictures as SVG text. Pure: numbers in, markup out."""
