"""SIDER: facial detail from one photo."""
