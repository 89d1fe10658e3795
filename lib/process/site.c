/* SPDX-License-Identifier: MIT */
#include "process/site.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

/* So much code of a function tells it from another one at the same offset. */
enum { CODE_BYTES = 64 };

static uint64_t digest(uint64_t seed, const void *data, size_t size)
{
        const unsigned char *bytes = data;
        uint64_t hash = seed ? seed : UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static const void *memory_at(const struct dl_phdr_info *info, uint64_t offset)
{
        const void *at;
        uint64_t address = info->dlpi_addr + offset;

        memcpy(&at, &address, sizeof at);
        return at;
}

/* A note is three words, a name and a description, each padded to the segment's alignment. */
static void build_id_in(
        const struct dl_phdr_info *info, const ElfW(Phdr) * segment, crew__module_id *id)
{
        size_t align = segment->p_align == 8 ? 8 : 4;
        const char *at = memory_at(info, segment->p_vaddr), *end = at + segment->p_filesz;
        ElfW(Nhdr) note;

        while ((size_t)(end - at) >= sizeof note) {
                size_t name, words;

                memcpy(&note, at, sizeof note);
                at += sizeof note;
                name = (note.n_namesz + align - 1) & ~(align - 1);
                words = (note.n_descsz + align - 1) & ~(align - 1);
                if (name + note.n_descsz > (size_t)(end - at))
                        return;
                if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                        memcmp(at, "GNU", 4) == 0) {
                        id->size = note.n_descsz < CREW__BUILD_ID_MAX ? note.n_descsz
                                                                      : CREW__BUILD_ID_MAX;
                        memcpy(id->id, at + name, id->size);
                        return;
                }
                if (name + words > (size_t)(end - at))
                        return;
                at += name + words;
        }
}

static void identify(const struct dl_phdr_info *info, bool program, crew__module_id *id)
{
        *id = (crew__module_id){ .program = program };
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

                if (segment->p_type == PT_NOTE && !id->size)
                        build_id_in(info, segment, id);
                if (segment->p_type == PT_LOAD) {
                        uint64_t shape[4] = { segment->p_vaddr, segment->p_filesz, segment->p_memsz,
                                segment->p_flags };

                        id->digest = digest(id->digest, shape, sizeof shape);
                }
        }
}

static bool same_module(const crew__module_id *a, const crew__module_id *b)
{
        return a->size == b->size && a->program == b->program && a->digest == b->digest &&
               memcmp(a->id, b->id, a->size) == 0;
}

/* The segment of code that has that offset, or NULL. */
static const ElfW(Phdr) * code_at(const struct dl_phdr_info *info, uint64_t offset)
{
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

                if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) &&
                        offset >= segment->p_vaddr && offset - segment->p_vaddr < segment->p_memsz)
                        return segment;
        }
        return NULL;
}

static uint64_t code_digest(
        const struct dl_phdr_info *info, const ElfW(Phdr) * segment, uint64_t offset)
{
        uint64_t left = segment->p_vaddr + segment->p_memsz - offset;

        /* Execute-only code cannot be read. */
        if (!(segment->p_flags & PF_R))
                return 0;
        return digest(0, memory_at(info, offset), left < CODE_BYTES ? left : CODE_BYTES);
}

struct search {
        bool past_first; /* the program itself comes first */
        bool found;
        crew__function *function;
        crew__site *place;
        const crew__site *wanted;
        char file[64];
};

static uint64_t address_of(crew__function *function)
{
        uintptr_t address;

        memcpy(&address, &function, sizeof address);
        return address;
}

static int look_up(struct dl_phdr_info *info, size_t size, void *data)
{
        struct search *s = data;
        uint64_t offset = address_of(s->function) - info->dlpi_addr;
        const ElfW(Phdr) *segment = code_at(info, offset);
        bool program = !s->past_first;
        const char *slash;

        (void)size;
        s->past_first = true;
        if (!segment)
                return 0;
        identify(info, program, &s->place->module);
        s->place->offset = offset;
        if (!s->place->module.size)
                s->place->code = code_digest(info, segment, offset);
        slash = strrchr(info->dlpi_name, '/');
        (void)snprintf(s->file, sizeof s->file, "%s",
                program ? program_invocation_short_name
                : slash ? slash + 1
                        : info->dlpi_name);
        s->found = true;
        return 1;
}

static void give_name(crew__site *place, crew__function *function, const char *file)
{
        uint64_t address = address_of(function);
        Dl_info known;
        void *at;

        memcpy(&at, &address, sizeof at);
        /* The nearest symbol before it may be another function's. */
        if (dladdr(at, &known) && known.dli_sname && known.dli_saddr == at)
                (void)snprintf(
                        place->name, sizeof place->name, "%.40s in %.40s", known.dli_sname, file);
        else
                (void)snprintf(place->name, sizeof place->name, "%.40s+0x%llx", file,
                        (unsigned long long)place->offset);
}

int crew__site_of(crew__site *place, crew__function *function)
{
        struct search s = { .function = function, .place = place };

        memset(place, 0, sizeof *place);
        (void)dl_iterate_phdr(look_up, &s);
        if (s.found) {
                give_name(place, function, s.file);
                return 0;
        }
        (void)snprintf(place->name, sizeof place->name, "0x%llx, made at run time",
                (unsigned long long)address_of(function));
        return -ENOENT;
}

static int find(struct dl_phdr_info *info, size_t size, void *data)
{
        struct search *s = data;
        const crew__site *wanted = s->wanted;
        const ElfW(Phdr) * segment;
        bool program = !s->past_first;
        crew__module_id id;
        uintptr_t address;

        (void)size;
        s->past_first = true;
        segment = code_at(info, wanted->offset);
        if (!segment)
                return 0;
        identify(info, program, &id);
        if (!same_module(&id, &wanted->module))
                return 0;
        if (!id.size && code_digest(info, segment, wanted->offset) != wanted->code)
                return 0;
        address = info->dlpi_addr + wanted->offset;
        memcpy(&s->function, &address, sizeof address);
        s->found = true;
        return 1;
}

int crew__site_find(const crew__site *place, crew__function **function)
{
        struct search s = { .wanted = place };

        (void)dl_iterate_phdr(find, &s);
        if (!s.found)
                return -ENOENT;
        *function = s.function;
        return 0;
}

struct listing {
        crew__module *list;
        size_t n, max;
        const crew__module_id *wanted;
        uint64_t base;
        bool found;
};

static int list_one(struct dl_phdr_info *info, size_t size, void *data)
{
        struct listing *l = data;
        crew__module m = { .from = UINT64_MAX, .base = info->dlpi_addr };

        (void)size;
        identify(info, l->n == 0, &m.id);
        l->n++;
        if (l->wanted && same_module(&m.id, l->wanted)) {
                l->base = m.base;
                l->found = true;
                return 1;
        }
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
                uint64_t from = info->dlpi_addr + segment->p_vaddr;

                if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
                        continue;
                m.from = from < m.from ? from : m.from;
                m.to = from + segment->p_memsz > m.to ? from + segment->p_memsz : m.to;
        }
        if (l->n <= l->max)
                l->list[l->n - 1] = m;
        return 0;
}

size_t crew__modules_list(crew__module *list, size_t max)
{
        struct listing l = { .list = list, .max = max };

        (void)dl_iterate_phdr(list_one, &l);
        return l.n;
}

int crew__module_find(const crew__module_id *id, uint64_t *base)
{
        struct listing l = { .wanted = id };

        (void)dl_iterate_phdr(list_one, &l);
        if (!l.found)
                return -ENOENT;
        *base = l.base;
        return 0;
}
