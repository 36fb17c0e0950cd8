"""Grafana's dashboards as code: ``make dashboards``."""
