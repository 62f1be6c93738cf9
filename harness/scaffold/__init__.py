"""What `harness new` starts from: files that work as they are, with their name as a placeholder.

Real Python, so that our own linters read it; nothing imports it. `template_name` and `TemplateName`
are replaced.
"""
