/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_PACK_H
#define CREW_SANDBOX_PACK_H

/* A plan as bytes, for a child that is no fork of who made it. The ruleset's descriptor goes along
 * by other means. */

#include "sandbox/apply.h"

/* How many bytes it takes, and writes them. */
size_t crew__plan_packed(const crew__plan *p);
void crew__plan_pack(const crew__plan *p, void *into);

/*
 * Makes a plan of them, for crew__plan_apply(); crew__plan_free() frees it. The bytes come from
 * this very program. 0; -ENOMEM; -EBADMSG.
 */
int crew__plan_unpack(crew__plan *p, const void *from, size_t size, int ruleset);

#endif
