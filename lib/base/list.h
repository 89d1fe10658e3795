/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_LIST_H
#define CREW_BASE_LIST_H

/* Circular lists through their members: whatever has a link can be in a list and leave it in O(1).
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct crew__link {
        struct crew__link *next, *prev;
} crew__link;

/* The object of `type` whose `member` is the link at `link`. */
#define CREW__OF(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Visits each link; the visited one may leave the list meanwhile, others may not. */
#define CREW__EACH(at, head)                                                                       \
        for (crew__link *at = (head)->next, *at##_next = at->next; at != (head);                   \
                at = at##_next, at##_next = at->next)

/* Makes an empty list, or a link that is in none. */
static inline void crew__link_init(crew__link *link)
{
        link->next = link->prev = link;
}

/* For a head: is the list empty? For a link: is it in no list? */
static inline bool crew__link_alone(const crew__link *link)
{
        return link->next == link;
}

static inline void crew__link_leave(crew__link *link)
{
        link->prev->next = link->next;
        link->next->prev = link->prev;
        crew__link_init(link);
}

static inline void crew__link_append(crew__link *head, crew__link *link)
{
        link->prev = head->prev;
        link->next = head;
        head->prev->next = link;
        head->prev = link;
}

/* Moves all links of `from` to the end of `to`. */
static inline void crew__link_move_all(crew__link *to, crew__link *from)
{
        if (crew__link_alone(from))
                return;
        from->next->prev = to->prev;
        from->prev->next = to;
        to->prev->next = from->next;
        to->prev = from->prev;
        crew__link_init(from);
}

#endif
