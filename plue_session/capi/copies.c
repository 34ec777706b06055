/*
 * Other copies of the library in this process. A package holds it under two names, as two files, and a program that has
 * loaded both would have two of everything, on one Python. One may run.
 *
 * Copies cannot see each other's symbols, but the loader lists what it has loaded, and each copy carries an ELF note
 * that says where its claim is. A copy that wants to run makes its claim first, and then reads the others'. Two that
 * claim at the same moment see each other: the one at the higher address gives way.
 */
#include "core.h"

#include <limits.h>
#include <link.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { FREE, CLAIMING, HELD };
enum { NOTE_TYPE = 1 };
#define NOTE_NAME "plue"

__attribute__((visibility("hidden"))) atomic_int core_claim;

/* Name, description and type of the note; the description is the distance from itself to the claim. */
__asm__(".pushsection .note.plue, \"a\", %note\n"
        ".balign 4\n"
        ".long 5, 4, 1\n"
        ".asciz \"plue\"\n"
        ".balign 4\n"
        ".long core_claim - .\n"
        ".popsection\n");

struct other {
    int claim; /* the strongest that was found */
    char path[PATH_MAX];
};

/* The claim of the copy whose notes these are, or NULL. */
static atomic_int *claim_in(const char *note, size_t length, size_t align)
{
    ElfW(Nhdr) head;
    while (length >= sizeof head) {
        memcpy(&head, note, sizeof head);
        const char *name = note + sizeof head;
        size_t text = (sizeof head + head.n_namesz + align - 1) & ~(align - 1),
               size = (text + head.n_descsz + align - 1) & ~(align - 1);
        int32_t distance;
        if (head.n_type == NOTE_TYPE && head.n_namesz == sizeof NOTE_NAME && head.n_descsz == sizeof distance &&
            text + sizeof distance <= length && !memcmp(name, NOTE_NAME, sizeof NOTE_NAME)) {
            memcpy(&distance, note + text, sizeof distance);
            return (atomic_int *)(uintptr_t)(note + text + distance);
        }
        if (size >= length)
            break;
        note += size;
        length -= size;
    }
    return NULL;
}

static int look_at(struct dl_phdr_info *object, size_t size, void *data)
{
    struct other *found = data;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_NOTE)
            continue;
        const char *note = (const char *)(uintptr_t)(object->dlpi_addr + part->p_vaddr);
        atomic_int *claim = claim_in(note, part->p_memsz, part->p_align == 8 ? 8 : 4);
        int strength = claim && claim != &core_claim ? atomic_load(claim) : FREE;
        if (strength == CLAIMING && claim < &core_claim)
            strength = HELD; /* it goes first */
        if (strength > found->claim) {
            found->claim = strength;
            snprintf(found->path, sizeof found->path, "%s", object->dlpi_name);
        }
    }
    return 0;
}

static atomic_int holders; /* bits: who needs the claim */

void core_hold_claim(int holder)
{
    atomic_fetch_or(&holders, holder);
}

void core_drop_claim(int holder)
{
    if (atomic_fetch_and(&holders, ~holder) == holder)
        atomic_store(&core_claim, FREE);
}

int core_claim_process(const char *operation)
{
    struct other found;
    for (int held = atomic_load(&holders);
         held;) /* what an earlier start has left behind is not over: nobody else has it */
        if (atomic_compare_exchange_strong(&holders, &held, held | CORE_CLAIM_LIFE))
            return 0;
    atomic_store(&core_claim, CLAIMING);
    for (;;) {
        found.claim = FREE;
        dl_iterate_phdr(look_at, &found);
        if (found.claim != CLAIMING)
            break;
        sched_yield(); /* it sees us, and gives way, or had looked before we claimed, and holds by then */
    }
    atomic_store(&core_claim, found.claim == FREE ? HELD : FREE);
    if (found.claim == FREE) {
        core_hold_claim(CORE_CLAIM_LIFE);
        return 0;
    }
    core_fail(PLUE_ERROR_RUNTIME, operation,
              "this process has loaded the library twice, and runs or starts it from %s. Load it under one "
              "name everywhere: libplue_session.so.0, as programs that are linked with it do.",
              found.path);
    return -1;
}
