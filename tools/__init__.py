# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Developer tools of the collection: the laboratory (a real CA, hosts, sshd) and what `make` runs."""
