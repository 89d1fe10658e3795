/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_SANITIZED_H
#define CREW_BASE_SANITIZED_H

/* Whether this is built with AddressSanitizer or ThreadSanitizer: 1 or 0. gcc says so by macros. */

#if defined(__has_feature)
#define CREW__ASAN __has_feature(address_sanitizer)
#define CREW__TSAN __has_feature(thread_sanitizer)
#else
#if defined(__SANITIZE_ADDRESS__)
#define CREW__ASAN 1
#else
#define CREW__ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define CREW__TSAN 1
#else
#define CREW__TSAN 0
#endif
#endif

#endif
