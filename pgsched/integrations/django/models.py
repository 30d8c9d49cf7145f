"""No models: pgsched manages its own schema. Django sends post_migrate only to apps with this module."""
