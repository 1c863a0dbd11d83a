"""A run → one self-contained HTML file; figures are functions of plain tables."""
