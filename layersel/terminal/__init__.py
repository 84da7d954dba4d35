"""What people see: help, errors, notes, tables, progress, figures."""
