# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Files on the host, where the owner of any folder on the way to them may be an attacker.

places:      the way to a file, by descriptors; whether the place is ours or foreign, and which links are followed
reading:     what lies there
acl:         POSIX ACLs
areas:       where files wait to become others, and what they are called there
attributes:  owner, mode, ACL and context of what replaces a file
staging:     new files, written and dressed there
replacing:   several of them put in their places, all or none; backups
folders:     made, and removed with the last file in them
locks:       one run at a time
"""
