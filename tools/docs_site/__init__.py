"""The documentation site: ``python -m tools.docs_site`` (or ``make docs-site``) builds it from docs/ with Zensical."""
