/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_SHARE_H
#define CREW_SANDBOX_SHARE_H

/*
 * Plans kept with the policy they were made of: making one takes ten times as long as entering it,
 * and a program that starts a thousand jobs has one policy.
 */

#include "sandbox/apply.h"

/*
 * The policy's plan for processes of this strictness, with or without a report page (and none of a
 * pool's descriptors). It is made on first need and stays valid while a reference is held, whatever
 * becomes of the policy; the policy's next one is another if paths are added meanwhile. Any thread.
 * Returns 0 or what crew__plan_new() returns.
 */
int crew__plan_get(const crew__plan **plan, const crew_sandbox *s, enum crew__strictness strictness,
        bool reports);

/* Gives a reference back. NULL is fine. */
void crew__plan_put(const crew__plan *plan);

/* The policy has changed or goes: its plans are no longer given out. */
void crew__plans_forget(crew_sandbox *s);

#endif
