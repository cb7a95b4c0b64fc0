/*
 * tests/sim/main.c - sim [--seed N] [--schedules N] [--length N] [--jobs N] [--night] [--trace]
 *                        [--mutant NAME] [--mutants]
 *
 * --seed N without --schedules replays that one schedule; --trace tells what happens in it, made short. With --schedules: seeds
 * N, N+1, … A failing one is made short and printed. --night goes on until something fails or it is
 * killed. The last line holds the figures.
 */
#include "tests/sim/sim.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef EW_MUTANTS
extern int ew_mutant;
extern const char *const ew_mutant_names[];
extern const int ew_mutant_count, ew_mutant_gone[];
#endif

#ifdef SIM_SQLITE
enum { MUTANT_SCHEDULES = 300 };
#else
enum { MUTANT_SCHEDULES = 2000 };
#endif
enum { LENGTH = 60, JOBS_MAX = 16 };

struct options {
    uint64_t seed;
    long schedules;
    int length, jobs;
    bool seeded, night, trace;
    const char *mutant;
    bool mutants;
};

static struct sim_world world;
static struct sim_schedule schedule;

/* What a process of ours leaves: nothing. */
static int end(bool ok)
{
#ifdef SIM_SQLITE
    sim_store_sqlite_end();
#endif
    return ok ? 0 : 1;
}

static void add_up(struct sim_figures *to, const struct sim_figures *f)
{
    uint64_t *a = (uint64_t *)(void *)to;
    const uint64_t *b = (const uint64_t *)(const void *)f;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++)
        a[i] += b[i];
}

static void report(uint64_t seed, int length, bool trace)
{
    printf("sim: seed %llu (length %d): %s\n", (unsigned long long)seed, length, world.failed);
    sim_shrink(&world, &schedule);
    struct sim_figures f = {0};
    (void)sim_run(&world, &schedule, &f, trace);
    printf("  made short, %d steps, %d nodes: %s\n", schedule.count, schedule.nodes, world.failed);
    for (int i = 0; i < schedule.count; i++) {
        printf("  %2d  ", i + 1);
        sim_step_print(stdout, &schedule.steps[i]);
    }
    printf("  replay: sim --seed %llu --length %d --trace\n", (unsigned long long)seed, length);
    (void)fflush(stdout);
}

/* Every jobs-th seed from first on. True: all held. */
static bool run_many(const struct options *o, int first, struct sim_figures *f)
{
    for (long i = first; o->night || i < o->schedules; i += o->jobs) {
        sim_schedule_make(&schedule, o->seed + (uint64_t)i, o->length);
        if (!sim_run(&world, &schedule, f, false)) {
            report(o->seed + (uint64_t)i, o->length, false);
            return false;
        }
    }
    return true;
}

static void print_figures(const struct options *o, const struct sim_figures *f, bool ok)
{
    static const char *const fates[SIM_FATES] = {"",
                                                 "lost_requests",
                                                 "lost_replies",
                                                 "late",
                                                 "twice",
                                                 "cut_requests",
                                                 "cut_replies",
                                                 "busy",
                                                 "gateway_died_before",
                                                 "gateway_died_after",
                                                 "slow_requests",
                                                 "slow_replies",
                                                 "feeds_with_a_hole"};
    printf("sim: %s seed=%llu schedules=%llu steps=%llu writes=%llu commits=%llu messages=%llu "
           "checks=%llu contested=%llu quarantined=%llu too_large=%llu\n",
           ok ? "ok" : "FAILED", (unsigned long long)o->seed, (unsigned long long)f->schedules,
           (unsigned long long)f->steps, (unsigned long long)f->writes,
           (unsigned long long)f->commits, (unsigned long long)f->messages,
           (unsigned long long)f->checks, (unsigned long long)f->contested,
           (unsigned long long)f->quarantined, (unsigned long long)f->too_large);
    static const struct {
        const char *name;
        enum sim_kind kind;
    } great[] = {{"clocks", SIM_CLOCK},    {"catalogs", SIM_CATALOG},
                 {"absences", SIM_ABSENT}, {"restores", SIM_RESTORE},
                 {"clones", SIM_CLONE},    {"centre_restores", SIM_CENTRE_RESTORE}};
    printf("sim: faults node_kills=%llu links=%llu disks=%llu other_edits=%llu compactions=%llu",
           (unsigned long long)f->kills, (unsigned long long)f->kinds[SIM_LINK],
           (unsigned long long)f->kinds[SIM_DISK], (unsigned long long)f->kinds[SIM_OTHER_EDIT],
           (unsigned long long)f->kinds[SIM_COMPACT]);
    for (size_t i = 0; i < sizeof great / sizeof great[0]; i++)
        printf(" %s=%llu", great[i].name, (unsigned long long)f->kinds[great[i].kind]);
    printf(" fences=%llu", (unsigned long long)f->fences);
    for (int i = 1; i < SIM_FATES; i++)
        printf(" %s=%llu", fates[i], (unsigned long long)f->fates[i]);
    putchar('\n');
}

static bool run_jobs(const struct options *o, struct sim_figures *sum)
{
    struct sim_figures *shared = mmap(NULL, sizeof *shared * JOBS_MAX, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool ok = shared != MAP_FAILED;
    if (o->jobs == 1 || !ok)
        return run_many(o, 0, sum);
    (void)fflush(stdout);
    for (int i = 0; i < o->jobs; i++)
        if (fork() == 0)
            _exit(end(run_many(o, i, &shared[i])));
    for (int i = 0; i < o->jobs; i++) {
        int status = 0;
        (void)wait(&status);
        ok &= status == 0;
    }
    for (int i = 0; i < o->jobs; i++)
        add_up(sum, &shared[i]);
    return ok;
}

static int replay(const struct options *o)
{
    struct sim_figures f = {0};
    sim_schedule_make(&schedule, o->seed, o->length);
    bool ok = sim_run(&world, &schedule, &f, false);
    if (!ok)
        report(o->seed, o->length, o->trace);
    print_figures(o, &f, ok);
    return end(ok);
}

#ifdef EW_MUTANTS
/* How many schedules until the deliberate bug is found; 0: never. */
static long hunt(const struct options *o, int mutant)
{
    struct sim_figures f = {0};
    long found = 0;
    ew_mutant = mutant;
    if (ew_mutant_gone[mutant - 1])
        (void)snprintf(world.failed, sizeof world.failed, "its place is gone: mutants.list");
    for (long i = 0; i < MUTANT_SCHEDULES && found == 0 && !ew_mutant_gone[mutant - 1]; i++) {
        sim_schedule_make(&schedule, o->seed + (uint64_t)i, o->length);
        if (!sim_run(&world, &schedule, &f, false))
            found = i + 1;
    }
    printf("%s %d - %s  # %ld schedules: %s\n", found ? "ok" : "not ok", mutant,
           ew_mutant_names[mutant - 1], found ? found : (long)MUTANT_SCHEDULES, world.failed);
    ew_mutant = 0;
    (void)fflush(stdout);
    return found;
}

static int hunt_all(const struct options *o)
{
    bool all = true;
    (void)fflush(stdout);
    for (int j = 0; j < o->jobs; j++)
        if (fork() == 0) {
            bool ok = true;
            for (int i = j; i < ew_mutant_count; i += o->jobs)
                ok &= hunt(o, i + 1) > 0;
            _exit(end(ok));
        }
    for (int j = 0; j < o->jobs; j++) {
        int status = 0;
        (void)wait(&status);
        all &= status == 0;
    }
    return all ? 0 : 1;
}

static bool plant(const char *name)
{
    for (int i = 0; i < ew_mutant_count; i++)
        if (strcmp(ew_mutant_names[i], name) == 0) {
            ew_mutant = i + 1;
            return true;
        }
    return false;
}
#endif

static bool read_options(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--night") == 0) {
            o->night = true;
        } else if (strcmp(argv[i], "--trace") == 0) {
            o->trace = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            o->mutants = true;
        } else if (value == NULL) {
            return false;
        } else if (strcmp(argv[i], "--seed") == 0) {
            o->seed = strtoull(argv[++i], NULL, 10);
            o->seeded = true;
        } else if (strcmp(argv[i], "--schedules") == 0) {
            o->schedules = strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--length") == 0) {
            o->length = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--jobs") == 0) {
            o->jobs = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--mutant") == 0) {
            o->mutant = argv[++i];
        } else {
            return false;
        }
    }
    return o->length > 0 && o->length <= SIM_STEPS_MAX && o->jobs > 0 && o->jobs <= JOBS_MAX;
}

int main(int argc, char **argv)
{
#ifdef SIM_SQLITE
    sim_store = &sim_store_sqlite;
#endif
    struct options o = {.seed = (uint64_t)time(NULL), .length = LENGTH, .jobs = 1};
    struct sim_figures f = {0};
    if (!read_options(&o, argc, argv)) {
        (void)fprintf(stderr, "sim: see the head of tests/sim/main.c for its options\n");
        return 2;
    }
#ifdef EW_MUTANTS
    if (o.mutants)
        return hunt_all(&o);
    if (o.mutant != NULL && !plant(o.mutant)) {
        (void)fprintf(stderr, "sim: no such mutant\n");
        return 2;
    }
#endif
    if (o.schedules == 0 && !o.night && o.seeded)
        return replay(&o);
    if (o.schedules == 0)
        o.schedules = 1000;
    printf("sim: seed=%llu\n", (unsigned long long)o.seed);
    bool ok = run_jobs(&o, &f);
    print_figures(&o, &f, ok);
    return end(ok);
}
