"""What people see: figures, tables, and the only place that makes sentences."""
