#!/bin/bash
# Shows that the model test finds bugs: puts one at a time into a copy of an engine source, links the
# model test against it, and expects the test to fail.
#
#   mutations.sh ENGINE_DIR WORK_DIR -- CC FLAG... -- OBJECT_OR_LIBRARY...
#
# ENGINE_DIR holds the sources; WORK_DIR is for the copies. A mutation is a name, a file, and a sed
# command that must change it.
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
    local dir=$work/$name copy=$work/$name/${file##*/}
    mkdir -p "$dir"
    sed "$edit" "$engine/$file" >"$copy"
    if cmp -s "$engine/$file" "$copy"; then
        echo "$name: the edit no longer changes $file (adapt it in mutations.sh)"
        failed=1
        return
    fi
    if ! "${compile[@]}" -I"$engine" -I"$(dirname "$engine/$file")" -w -c "$copy" -o "$dir/mutant.o" ||
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
mutate timeout_now_minus_1 answer.c 's/\.timestamp_ms = lp__engine_settled_ms(engine)/.timestamp_ms = engine->clock.ms - 1/'
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
mutate unsettled answer.c '/^bool lp__waiter_try/,/^}/s/waiter->flags & LP__WAITER_SETTLED ? limit_seq : UINT64_MAX/UINT64_MAX/'
# an event is not pending any more and not visible yet
mutate resolved_too_early engine.c '/^void lp__engine_resolve/,/^}/{/lp__engine_make_room(/i pop_pending(engine);
/lp__engine_make_room(/,/lp__category_push(/s/^    pop_pending(engine);//}'
# the millisecond that the life before has called settled goes on
mutate restart_within_a_millisecond replay.c '/^void lp__engine_replay_end/,/^}/s/lp__clock_pass(.*lp_seq_last(.*;/;/'
# the clock follows the wall back
mutate clock_goes_back clock.c 's/if (wall >= clock->ms)/if (true)/'
# a cursor from a store that was put back in time, and from what is no id of ours
mutate foreign_cursor subscribe.c '/if (has_seq && was_never_given/,/;/s/waiter->flags |= LP__WAITER_FROM_ELSEWHERE;/;/'
mutate foreign_id_alone subscribe.c '/if (query->by_id && .*!is_ours)/,/;/s/waiter->flags |= LP__WAITER_FROM_ELSEWHERE;/;/'

# several categories: told in the order of their rings, twice, or the first one's alone
mutate merge_not_by_number answer.c 's/^        sift_down(runs, count, 0);/;/'
mutate merged_twice answer.c '/^static bool collect_category/,/^}/s/category->topic.mark == engine->marks/false/'
mutate waits_for_the_first_alone poll.c '/^static void park(/,/^}/s/i < waiter->interest_count/i < 1/'
mutate duplicates_count subscribe.c '/^static void add(/,/^}/s/if (topic->mark == engine->marks)/if (false)/'
mutate interests_without_bound subscribe.c 's/engine->interest_count > max - interests/false/'
mutate cut_without_bound answer.c '/^static bool takes/,/^}/s/cut->bytes > cut->bytes_max/false/'
mutate retrieved_of_one_category engine.c 's/if (are_of_one_category(events, count))/if (true)/'
# prefixes: what is pruned, stale or not counted, who is not woken, what is lost under them
mutate pruned_one_too_many index.c '/^static bool visit_subtree/,/^}/s/newest <= \*these->after/newest <= *these->after + 1/'
mutate stale_is_not_marked index.c '/^void lp__index_touch/,/^}/s/category = category->node.parent/category = NULL/'
mutate stale_is_not_refreshed category.c '/^void lp__category_push/,/^}/s/lp__index_touch(category);/;/'
mutate horizons_below_are_not_counted index.c '/^static void refresh/,/^}/s/> node->horizon)/> UINT64_MAX - 1)/'
mutate gap_of_prefix_ignored topic.c 's/lp__index_extent(engine, text_of(topic)).horizon/0/'
mutate forgotten_under_prefix answer.c 's/(LP__WAITER_HAS_CURSOR | LP__WAITER_HAS_PREFIX)/LP__WAITER_HAS_CURSOR/'
mutate prefix_is_not_woken topic.c 's/^        mark_dirty(engine, &prefix->topic);/;/'
mutate prefix_that_is_the_name prefix.c 's/lengths\[i\].length > walk->name.len/lengths[i].length >= walk->name.len/'
mutate prefix_is_not_pressed poll.c 's/pressed |= press_topic(engine, &prefix->topic,/(void)(0 \&\& press_topic)(engine, \&prefix->topic,/
s/(void)(0 && press_topic)(.*/;/'
# last=N, and positions
mutate last_off_by_one topic.c 's/\*out = these.seqs\[i\] - 1/*out = these.seqs[i]/'
mutate last_of_the_first_alone topic.c '/^int lp__topics_position_of_last/,/^}/s/i < interest_count/i < 1/'
mutate position_below_the_floor engine.c 's/engine->visible_seq = engine->begun_seq = engine->floor;/;/'
mutate position_is_foreign subscribe.c 's/ && seq != engine->begun_seq;/;/'
mutate position_hides_a_gap subscribe.c 's/untold ? waiter->cursor : waiter->position/waiter->position/'
mutate dismissed_past_events answer.c '/^void lp__waiter_time_out/,/^}/s/if (has_untold(/if (false \&\& has_untold(/'
# streams: told again, told of the same gap again, not told of a new one, told while they rest
mutate stream_position_stays answer.c '/^static void move_to/,/^}/s/waiter->position = waiter->cursor = seq;/waiter->cursor = seq;/'
mutate stream_cursor_stays answer.c '/^static void move_to/,/^}/s/waiter->position = waiter->cursor = seq;/waiter->position = seq;/'
mutate stream_is_told_one_gap answer.c '/^static void move_to/,/^}/s/waiter->position = waiter->cursor = seq;/waiter->position = seq; waiter->cursor = UINT64_MAX;/'
mutate stream_does_not_rest subscribe.c '/^void lp__waiter_rest/,/^}/s/lp__heap_remove(.*;/;/'
# groups and keys
mutate group_is_split ../manager/batch.c '/^void lp_batch_fail/,/^}/s/batch->items\[i\].group == i - first; i++/i == first; i++/'
mutate key_of_the_refused ../manager/batch.c 's/^    refuse_key(batch, .*;/;/'
mutate key_lives_on keys.c '/^void lp__keys_expire/,/^}/s/slots\[0\].key) <= now_ms/slots[0].key) < now_ms/'
mutate keys_without_bound keys.c 's/if (keys->kept.count > keys->max)/if (false)/'
mutate key_of_the_same_millisecond keys.c 's/until_ms = lp_seq_ms(keys->kept.slots\[0\].key) - 1;/;/'
mutate key_of_an_older_record keys.c '/^static bool is_later/,/^}/s/return .*;/return true;/'
mutate key_expires_with_its_record_alone changes.c 's/^    lp_batch_set_forgotten_keys(batch, until_ms);/lp_batch_set_forgotten_keys(batch, until_ms + 1);/'

exit $failed
