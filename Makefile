# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

# The newest Python from 3.10 to 3.14 that really runs: what a version manager puts on PATH may answer for nothing.
ifndef PYTHON
PYTHON := $(shell for python in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do \
	"$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1 && \
	{ echo "$$python"; break; }; done)
endif

CACHE = $${XDG_CACHE_HOME:-$$HOME/.cache}/privatepki.stepca

# Nothing compiled is left in the checkout.
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help demo test lint format unit sanity integration molecule benchmark clean python

help:
	@echo 'make demo         real certificates from a throw-away step-ca, for three throw-away hosts'
	@echo 'make test         everything below, one after the other'
	@echo 'make lint         ruff, yamllint, ansible-lint, antsibull-docs, antsibull-changelog'
	@echo 'make format       mend what ruff can mend'
	@echo 'make unit         unit tests, with the coverage of plugins/module_utils/_core'
	@echo 'make sanity       ansible-test sanity, with ansible-core 2.17 and the newest'
	@echo 'make integration  playbooks against a real step-ca, with ansible-core 2.17 and the newest'
	@echo 'make molecule     roles on whole hosts: Debian 11, 12 and 13 with systemd, in podman (root only)'
	@echo 'make benchmark    how long tasks take on ten nodes in podman, compared with the least that Ansible can do (root only)'
	@echo 'make clean        remove the cache (environments, built programs), the images of nodes, and what broken runs left'
	@echo
	@echo 'make unit ARGS="-k durations"   hands arguments to pytest (unit, integration)'
	@echo 'make molecule ARGS="default"    runs the named scenarios of extensions/molecule'
	@echo 'make PYTHON=/path/to/python3    chooses the Python that runs the tools (3.10 to 3.14)'

demo: python
	@$(PYTHON) -m tools.demo

test: python
	@$(PYTHON) -m tools.test

lint sanity: python
	@$(PYTHON) -m tools.test $@

format: python
	@$(PYTHON) -m tools.lint --fix

unit integration molecule: python
	@$(PYTHON) -m tools.test $@ $(if $(ARGS),-- $(ARGS))

benchmark: python
	@$(PYTHON) -m tools.benchmark

clean: python
	@$(PYTHON) -m tools.running
	@$(PYTHON) -m tools.nodes
	rm -rf "$(CACHE)"

python:
	@test -n "$(PYTHON)" || { echo 'No Python from 3.10 to 3.14 was found on PATH: install one (with its venv module), or say make PYTHON=...' >&2; exit 1; }
