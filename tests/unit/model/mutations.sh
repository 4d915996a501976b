#!/bin/bash
# Shows that the model test finds bugs: puts one at a time into a copy of an engine source, links the
# model test against it, and expects the test to fail.
#
#   mutations.sh ENGINE_DIR WORK_DIR -- CC FLAG... -- OBJECT_OR_LIBRARY...
#
# ENGINE_DIR holds the sources; WORK_DIR is for the copies. A mutation is a file, a sed command that
# must change it, and what it is about.
set -u

engine=$1 work=$2
shift 3
compile=()
while [ "$1" != -- ]; do
    compile+=("$1")
    shift
done
shift
link=("$@")
failed=0

mutate() {
    local name=$1 file=$2 edit=$3
    local dir=$work/$name
    mkdir -p "$dir"
    sed "$edit" "$engine/$file" >"$dir/$file"
    if cmp -s "$engine/$file" "$dir/$file"; then
        echo "$name: the edit no longer changes $file (adapt it in mutations.sh)"
        failed=1
        return
    fi
    if ! "${compile[@]}" -I"$engine" -w -c "$dir/$file" -o "$dir/mutant.o" ||
        ! "${compile[@]}" "$dir/mutant.o" "${link[@]}" -o "$dir/model_test"; then
        echo "$name: does not build"
        failed=1
        return
    fi
    if "$dir/model_test" 1 300000 >"$dir/output" 2>&1; then
        echo "$name: NOT found"
        failed=1
    elif tail -n 1 "$dir/output" | grep -q '^seed [0-9]*, step [0-9]*: '; then
        echo "$name: found. $(tail -n 1 "$dir/output")"
    else
        echo "$name: ended otherwise than by a failed check, see $dir/output"
        failed=1
    fi
}

# without a mutation the same steps must pass
mkdir -p "$work"
if ! "${compile[@]}" "${link[@]}" -o "$work/model_test" || ! "$work/model_test" 1 300000 >"$work/output"; then
    echo "the unchanged engine does not pass, see $work/output"
    exit 1
fi

# the timestamp of a timeout is plain now - 1, whatever is pending
mutate timeout_now_minus_1 poll.c 's/\.timestamp_ms = lp__engine_settled_ms(engine)/.timestamp_ms = engine->clock.ms - 1/'
# a restart forgets the highest number: of all, or what is told beside the events
mutate forget_highest replay.c '/^void lp__engine_replay_highest/,/^}/s/lp__clock_pass(.*;/(void)seq;/'
mutate forget_highest_of_the_removed replay.c '/^void lp__engine_replay_highest/i static void replay_number(lp__engine *engine, uint64_t seq) { lp__clock_pass(\&engine->clock, seq); }
/^void lp__engine_replay_highest/,/^}/s/lp__clock_pass(.*;/(void)seq;/
/^int lp__engine_replay_event/i static void replay_number(lp__engine *engine, uint64_t seq);
/^int lp__engine_replay_event/,/^}/s/lp__engine_replay_highest(engine, now, seq);/replay_number(engine, seq);/'
# a horizon is dropped: when an event goes, on the way to the store, on the way back, with its category
mutate drop_horizon category.c '/^static void note_gone/,/^}/s/lp__category_raise_horizon(.*;/;/'
mutate drop_horizon_for_the_store changes.c '/^void lp__changes_note_horizon/,/^}/s/lp__list_push_back(.*;/;/'
mutate drop_horizon_at_replay replay.c '/^int lp__engine_replay_horizon/,/^}/s/if (seq > category->horizon)/if (false)/'
mutate drop_horizon_of_the_forgotten category.c '/^static void forget/,/^}/s/engine->floor = category->horizon;/;/'
mutate drop_floor_at_replay replay.c '/^int lp__engine_replay_horizon/,/^}/s/if (name.len == 0) {/if (name.len == 0) { return LP_OK;/'
# polls without an id are told of a part of a millisecond
mutate unsettled poll.c 's/^    if (waiter->flags & READS_SETTLED)$/    if (false)/'
# an event is not pending any more and not visible yet
mutate resolved_too_early engine.c '/^void lp__engine_resolve/,/^}/{/lp__engine_make_room(/i pop_pending(engine);
/lp__engine_make_room(/,/lp__category_push(/s/^    pop_pending(engine);//}'
# the millisecond that the life before has called settled goes on
mutate restart_within_a_millisecond replay.c '/^void lp__engine_replay_end/,/^}/s/lp__clock_pass(.*;/;/'
# the clock follows the wall back
mutate clock_goes_back clock.c 's/if (wall >= clock->ms)/if (true)/'
# a cursor from a store that was put back in time
mutate foreign_cursor poll.c 's/waiter->flags |= FROM_ELSEWHERE/;/'

exit $failed
