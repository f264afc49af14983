-- The ledger's whole SQL, one statement under each "-- name:" line. Tables are append-only.
-- Keys are stored as the 32 bytes of the SHA-256. Money is DECIMAL: twelve decimals hold one token of the
-- cheapest model. Raw replies are VARCHAR, never JSON: DuckDB refuses to store JSON that is broken.
-- A checkpoint rewrites the last row group of each table whole. So row groups have 2,048 rows (see schema.py), a text
-- longer than 4,096 characters is stored in parts of that length in a table of its own, and texts are compressed with
-- zstd, without trials of other methods: the checkpoint inside a commit stays short, and bounded in memory.

-- name: schema_1
create table meta (name varchar not null, value varchar not null);
create table prompt_versions (          -- what every request of a version shares, stored once
    version varchar not null, label varchar, model varchar not null, system varchar, params varchar not null,
    schema varchar not null, prompt varchar not null, hooks varchar, first_used_at timestamp not null);
create table runs (
    run_no integer not null, run_id varchar not null, pipeline varchar not null, prompt_version varchar not null,
    input varchar not null, fingerprint varchar not null, total bigint not null, settings varchar not null,
    resumes integer[] not null,         -- run_no of the unfinished runs that this one goes on with
    started_at timestamp not null);
create table run_ends (run_no integer not null, ended_at timestamp not null, status varchar not null,
    exit_code integer not null, report varchar not null);
create table requests (key blob not null, prompt_version varchar not null, user_message varchar not null);
create table attempts (
    seq bigint not null, run_no integer not null, key blob not null, row_no bigint not null, number smallint not null,
    asked_at timestamp not null, latency_ms double not null, http_status smallint, outcome varchar not null,
    reason varchar, failure varchar, possibly_paid boolean not null, model varchar, tier varchar, fingerprint varchar,
    input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, cost_usd decimal(18, 12), raw varchar);
create table outcomes (
    run_no integer not null, row_no bigint not null, row_id varchar, status varchar not null, key blob, seq bigint,
    failure varchar, reason varchar, repaired boolean not null);
insert into meta values ('schema_version', '1');

-- name: schema_2
create table parts (                    -- of texts too long for a field
    key blob not null, seq bigint,      -- of this attempt's raw reply; null: of the key's user message
    part_no integer not null, part varchar not null using compression zstd);
insert into parts select key, seq, unnest(range((length(raw) + 4095) // 4096)),
    unnest(list_transform(range((length(raw) + 4095) // 4096), lambda n: substr(raw, n * 4096 + 1, 4096)))
    from attempts where length(raw) > 4096;
insert into parts select key, null, unnest(range((length(user_message) + 4095) // 4096)),
    unnest(list_transform(range((length(user_message) + 4095) // 4096),
        lambda n: substr(user_message, n * 4096 + 1, 4096)))
    from requests where length(user_message) > 4096 and rowid in (select min(rowid) from requests group by key);
create table short_requests (
    key blob not null, prompt_version varchar not null,
    user_message varchar using compression zstd);       -- null: it is in parts
insert into short_requests select key, prompt_version, case when length(user_message) <= 4096 then user_message end
    from requests where rowid in (select min(rowid) from requests group by key);
drop table requests;
alter table short_requests rename to requests;
create table short_attempts (
    seq bigint not null, run_no integer not null, key blob not null, row_no bigint not null, number smallint not null,
    asked_at timestamp not null, latency_ms double not null, http_status smallint, outcome varchar not null,
    reason varchar, failure varchar, possibly_paid boolean not null, model varchar, tier varchar, fingerprint varchar,
    input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, cost_usd decimal(18, 12),
    raw varchar using compression zstd);                -- null, and outcome 'answered': it is in parts
insert into short_attempts select * replace (case when length(raw) <= 4096 then raw end as raw) from attempts;
drop table attempts;
alter table short_attempts rename to attempts;
insert into meta values ('schema_version', '2');

-- name: schema_version
select coalesce(max(value::integer), 0) from meta where name = 'schema_version';

-- name: sequence
-- The highest number given; the number up to which some were dropped on purpose (by gc, by a repair); how many follow it.
with meant as (select coalesce(max(value::bigint), 0) as gaps from meta where name = 'gaps_through')
select greatest(coalesce(max(seq), 0), any_value(gaps)), any_value(gaps), count(*) filter (where seq > gaps)
from attempts right join meant on true;

-- name: insert_attempts
insert into attempts select unnest(?::bigint[]), unnest(?::integer[]), unnest(?::blob[]), unnest(?::bigint[]),
    unnest(?::smallint[]), make_timestamp(unnest(?::bigint[])), unnest(?::double[]), unnest(?::smallint[]),
    unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::boolean[]), unnest(?::varchar[]),
    unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::bigint[]), unnest(?::bigint[]), unnest(?::bigint[]),
    unnest(?::bigint[]), unnest(?::bigint[]), unnest(?::decimal(18, 12)[]), unnest(?::varchar[]);

-- name: insert_requests
insert into requests select unnest(?::blob[]), unnest(?::varchar[]), unnest(?::varchar[]);

-- name: insert_parts
insert into parts select unnest(?::blob[]), unnest(?::bigint[]), unnest(?::integer[]), unnest(?::varchar[]);

-- name: insert_outcomes
-- Each column but the reasons is one text, split by $by: half the time of a list of values. An empty part is null.
insert into outcomes
select $run_no, row_no::bigint, nullif(row_id, ''), status, from_hex(nullif(key, '')), nullif(seq, '')::bigint,
    nullif(failure, ''), reason, repaired = 'True'
from (select unnest(string_split($row_no, $by)) as row_no, unnest(string_split($row_id, $by)) as row_id,
    unnest(string_split($status, $by)) as status, unnest(string_split($key, $by)) as key,
    unnest(string_split($seq, $by)) as seq, unnest(string_split($failure, $by)) as failure,
    unnest($reason::varchar[]) as reason, unnest(string_split($repaired, $by)) as repaired);

-- name: known_seqs
select seq from attempts
where outcome in ('answered', 'rejected') and key in (select unnest(?::blob[]))
    and (?::boolean or fingerprint is distinct from 'fp_simulator') and seq > ? order by seq;

-- name: keys_of_many
-- Keys with more than one reply or rejection, by their hashes; and now and then one that only shares its hash.
create or replace temp table keys_of_many as
    select hash(key) as hash from attempts where outcome in ('answered', 'rejected') group by all having count(*) > 1;

-- name: recalled
-- The replies that the rows of some runs ended with, but for keys of many.
select lower(hex(a.key)), o.row_no, a.seq, a.number, a.http_status, a.latency_ms, a.cost_usd, a.raw
from (select seq, any_value(row_no) as row_no from outcomes
      where run_no in (select unnest(?::integer[])) and row_no >= ? and row_no <= ? group by seq) o
    join attempts a using (seq)
where a.outcome = 'answered' and (?::boolean or a.fingerprint is distinct from 'fp_simulator')
    and not exists (select 1 from keys_of_many m where m.hash = hash(a.key));

-- name: places_of
select lower(hex(key)), any_value(row_no) from outcomes
where run_no in (select unnest(?::integer[])) and key in (select unnest(?::blob[])) group by key;

-- name: raw_in_parts
select seq, string_agg(part, '' order by part_no) from parts where seq in (select unnest(?::bigint[])) group by seq;

-- name: attempts_by_seq
select seq, lower(hex(key)), number, http_status, latency_ms, cost_usd, outcome, raw, failure, reason
from attempts where seq in (select unnest(?::bigint[])) order by seq;

-- name: add_prompt_version
insert into prompt_versions select ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?)
where not exists (select 1 from prompt_versions where version = ?);

-- name: newest_run
select coalesce(max(run_no), 0) from runs;

-- name: last_run
-- Runs of candidates (compare) and of judges are no nights: nothing goes on with them, and they hide no night that stopped.
select r.run_no, r.fingerprint, r.prompt_version, r.resumes, e.status
from runs r left join run_ends e using (run_no)
where not regexp_matches(r.fingerprint, '^(compare|judge):') order by r.run_no desc limit 1;

-- name: seq_before_night
-- The last attempt before the first of the $night's runs that followed the last of them that ended below its floor.
with low as (select coalesce(max(run_no), 0) as run_no from run_ends
             where status = 'below_floor' and run_no in (select unnest($night::integer[]))),
     first as (select min(night.run_no) as run_no from (select unnest($night::integer[]) as run_no) night, low
               where night.run_no > low.run_no)
select coalesce(max(seq), 0) from attempts where run_no < (select run_no from first);

-- name: begin_run
insert into runs values (?, ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?));

-- name: end_run
insert into run_ends values (?, make_timestamp(?), ?, ?, ?);

-- name: outcomes_between
select o.row_no, o.status, o.failure, o.reason, lower(hex(o.key)), o.seq
from outcomes o where o.run_no = ? and o.row_no >= ? and o.row_no < ?;

-- name: served_between
-- The attempts that rows of a run ended with.
select seq, run_no, row_no, model, outcome, raw
from (select distinct seq from outcomes where run_no = ? and row_no >= ? and row_no < ?) join attempts using (seq);

-- name: serving
select seq, run_no, row_no, model, outcome, raw from attempts where seq in (select unnest(?::bigint[]));

-- name: paid_between
select row_no, sum(cost_usd), count(*) filter (where outcome = 'answered' and cost_usd is null)
from attempts where run_no in (select unnest(?::integer[])) and row_no >= ? and row_no < ? group by row_no;

-- name: paid_by_runs
select coalesce(sum(cost_usd), 0), count(*) filter (where outcome = 'answered' and cost_usd is null)
from attempts where run_no in (select unnest(?::integer[]));

-- name: draw
-- What a run may have spent so far at most, stored before it can have: "run_no number dollars". The last number counts.
insert into meta values ('drawn', ?);

-- name: bills
-- By run: its priced attempts asked since $since, all of them, its last draw, and how many may cost beside.
with drawn as (
    select split_part(value, ' ', 1)::integer as run_no,
           arg_max(split_part(value, ' ', 3)::decimal(18, 12), split_part(value, ' ', 2)::integer) as usd
    from meta where name = 'drawn' group by all)
select r.run_no, coalesce(sum(a.cost_usd) filter (where a.asked_at >= make_timestamp($since)), 0),
    coalesce(sum(a.cost_usd), 0), any_value(d.usd),
    count(*) filter (where a.possibly_paid or (a.outcome = 'answered' and a.cost_usd is null))
from runs r left join drawn d using (run_no) left join attempts a using (run_no)
where ($runs is null or r.run_no in (select unnest($runs::integer[])))
    and (r.started_at >= make_timestamp($since)
         or r.run_no in (select run_no from attempts where asked_at >= make_timestamp($since)))
group by r.run_no order by r.run_no;

-- name: longest_open
-- Of a run's attempts that may cost beside: the longest user message in bytes, and whether one is a re-ask.
with open as (select key, number from attempts
              where run_no = ? and (possibly_paid or (outcome = 'answered' and cost_usd is null))),
     long as (select key, sum(strlen(part)) as bytes from parts semi join open using (key) where seq is null group by key)
select coalesce(max(coalesce(strlen(q.user_message), l.bytes)), 0)::bigint, coalesce(bool_or(o.number > 1), false)
from open o left join requests q using (key) left join long l using (key);

-- name: copy_draws
insert into meta select * from before.meta where name in ('drawn', 'schedule');

-- name: keep_schedule
-- How the schedule of a run with a deadline stands: "run_no json". The last one counts.
insert into meta values ('schedule', ?);

-- name: kept_schedule
select substr(value, position(' ' in value) + 1) from meta
where name = 'schedule' and split_part(value, ' ', 1)::integer in (select unnest(?::integer[]))
order by rowid desc limit 1;

-- name: batch_times
select detail from batch_events where event = 'took' and ($simulated or ref is distinct from 'rehearsal')
order by happened_at desc limit $most;

-- name: past_use
-- What calls for a model used in earlier runs: of this prompt version, of this schema, of others. A first ask is
-- counted however it ended; a 429 that was waited out is none. Of a run with a ladder (its prompt version names several
-- models) a call belongs to the prompt version of its request.
with of_model as (
    select a.*, r.prompt_version, v.schema from attempts a join runs r using (run_no)
        join prompt_versions v on v.version = r.prompt_version where v.model = $model
    union all
    select a.*, q.prompt_version, v.schema from attempts a join runs r using (run_no)
        join prompt_versions several on several.version = r.prompt_version and contains(several.model, '>')
        join requests q on q.key = a.key join prompt_versions v on v.version = q.prompt_version
    where v.model = $model)
select case when a.prompt_version = $version then 0 when a.schema = $schema then 1 else 2 end as nearness,
    count(distinct a.run_no),
    count(*) filter (where a.number = 1 and a.outcome not in ('rate_limited', 'refused')),
    count(a.input_tokens), count(a.input_tokens) filter (where a.number = 1),
    coalesce(sum(a.input_tokens), 0), coalesce(sum(a.input_tokens) filter (where a.number = 1), 0),
    coalesce(sum(a.cached_tokens), 0), coalesce(sum(a.cache_write_tokens), 0), coalesce(sum(a.output_tokens), 0),
    coalesce(sum(a.reasoning_tokens), 0), coalesce(stddev_pop(a.output_tokens), 0),
    count(distinct a.run_no) filter (where e.status = 'probe')
from of_model a left join run_ends e using (run_no)
where ($simulated or a.fingerprint is distinct from 'fp_simulator')
group by nearness order by nearness;

-- name: past_places
-- First asks, by where their messages are, and what the server counted for them; those of this prompt version before
-- others. Drawn by eights, because a message lies in a block of 2,048 that is unpacked whole.
with of_model as (
    select a.seq, a.key, a.number, a.input_tokens, a.fingerprint, r.prompt_version from attempts a
        join runs r using (run_no) join prompt_versions v on v.version = r.prompt_version where v.model = $model
    union all
    select a.seq, a.key, a.number, a.input_tokens, a.fingerprint, q.prompt_version from attempts a
        join runs r using (run_no)
        join prompt_versions several on several.version = r.prompt_version and contains(several.model, '>')
        join requests q on q.key = a.key join prompt_versions v on v.version = q.prompt_version
    where v.model = $model), drawn as (
    select a.key, a.input_tokens from of_model a
    where a.number = 1 and a.input_tokens is not null
        and ($simulated or a.fingerprint is distinct from 'fp_simulator')
    order by a.prompt_version != $version, hash(a.seq // 8), a.seq limit $most)
select q.rowid, drawn.input_tokens from requests q join drawn using (key);

-- name: past_messages
-- Materialized, because a join with anything else unpacks every message: 1.5 s instead of 0.1 at a million.
with found as materialized (select rowid as place, key, prompt_version, user_message from requests
                            where rowid in (select unnest(?::bigint[])))
select place, coalesce(user_message, (
        select string_agg(p.part, '' order by p.part_no) from parts p where p.key = found.key and p.seq is null)
    ), v.system, v.schema
from found join prompt_versions v on v.version = prompt_version order by place;

-- name: past_reports
select e.report from run_ends e join runs r using (run_no) join prompt_versions v on v.version = r.prompt_version
where v.model = $model order by e.run_no desc limit $most;

-- name: last_night
-- One that ended below its floor, or only probed, reached no rows: it is nothing to compare a night's rows with.
select max(r.run_no) from runs r left join run_ends e using (run_no)
where r.run_no <= ? and coalesce(e.status, '') not in ('probe', 'below_floor')
    and not regexp_matches(r.fingerprint, '^(compare|judge):');

-- name: sighted
create or replace temp table sighted (row_id varchar, key blob, kind varchar);

-- name: sight
insert into sighted select unnest(?::varchar[]), from_hex(nullif(unnest(string_split(?, ' ')), '')),
    unnest(string_split(?, ' '));

-- name: sighted_requests
select kind, count(*), count(distinct key) from sighted group by kind;

-- name: sighted_changes_by_id
-- Here and below a row of a ladder is compared by its request to the first model, wherever it ended.
with before as (select o.row_id, coalesce(c.key, o.key) as key from outcomes o
             left join climbs c on c.run_no = o.run_no and c.row_no = o.row_no and c.rung = 0
             where o.run_no = $before and o.row_id is not null),
     now as (select row_id, key from sighted where row_id is not null)
select count(*) filter (where b.row_id is null),
       count(*) filter (where n.row_id is not null and b.row_id is not null and n.key is distinct from b.key
                        and n.key is not null),
       count(*) filter (where n.row_id is null)
from now n full join before b using (row_id);

-- name: sighted_changes_by_key
with before as (select distinct coalesce(c.key, o.key) as key from outcomes o
             left join climbs c on c.run_no = o.run_no and c.row_no = o.row_no and c.rung = 0
             where o.run_no = $before and o.key is not null),
     now as (select distinct key from sighted where key is not null)
select count(*) filter (where b.key is null), null, count(*) filter (where n.key is null)
from now n full join before b on n.key = b.key;

-- name: changes_by_id
with now as (select o.row_id, coalesce(c.key, o.key) as key from outcomes o
             left join climbs c on c.run_no = o.run_no and c.row_no = o.row_no and c.rung = 0
             where o.run_no = $now and o.row_id is not null),
     before as (select o.row_id, coalesce(c.key, o.key) as key from outcomes o
             left join climbs c on c.run_no = o.run_no and c.row_no = o.row_no and c.rung = 0
             where o.run_no = $before and o.row_id is not null)
select count(*) filter (where b.row_id is null),
       count(*) filter (where n.row_id is not null and b.row_id is not null and n.key is distinct from b.key
                        and n.key is not null),
       count(*) filter (where n.row_id is null)
from now n full join before b using (row_id);

-- name: changes_by_key
with now as (select distinct coalesce(c.key, o.key) as key from outcomes o
             left join climbs c on c.run_no = o.run_no and c.row_no = o.row_no and c.rung = 0
             where o.run_no = $now and o.key is not null),
     before as (select distinct coalesce(c.key, o.key) as key from outcomes o
             left join climbs c on c.run_no = o.run_no and c.row_no = o.row_no and c.rung = 0
             where o.run_no = $before and o.key is not null)
select count(*) filter (where b.key is null), null, count(*) filter (where n.key is null)
from now n full join before b on n.key = b.key;

-- name: run_ids
select run_no, run_id from runs;

-- name: begun
select run_no, run_id, resumes, fingerprint, total, json_extract_string(e.report, '$.input[*]')
from runs left join run_ends e using (run_no) where starts_with(run_id, $run_id)
    and ($run_id <> '' or not regexp_matches(fingerprint, '^(compare|judge):')) order by run_no desc limit 1;

-- name: run_history
select r.run_id, r.started_at, r.prompt_version, r.input, r.total, e.ended_at, e.status, e.exit_code, e.report
from runs r left join run_ends e using (run_no) order by r.run_no desc;

-- name: reports_before
-- The newest $most runs before a run that have a report, newest first.
select r.run_id, e.report from runs r join run_ends e using (run_no)
where r.run_no < $run and not regexp_matches(r.fingerprint, '^(compare|judge):') order by r.run_no desc limit $most;

-- name: paid_by_version
-- What each prompt version cost over all its runs, newest first.
with paid as (select run_no, count(*) filter (where outcome = 'answered') as answers, sum(cost_usd) as dollars,
                     count(*) filter (where outcome = 'answered' and cost_usd is null) as unpriced
              from attempts group by run_no)
select v.version, any_value(v.label), count(*), coalesce(sum(answers), 0)::bigint, coalesce(sum(dollars), 0),
       coalesce(sum(unpriced), 0)::bigint
from prompt_versions v join runs r on r.prompt_version = v.version left join paid using (run_no)
where not starts_with(r.fingerprint, 'judge:') group by v.version order by max(r.run_no) desc limit $most;

-- name: died_runs
-- What runs without an end had done: rows by status, and dollars.
with open_runs as (select run_no from runs anti join run_ends using (run_no)),
     ended as (select run_no, status, count(*) as rows from outcomes semi join open_runs using (run_no) group by all),
     paid as (select run_no, sum(cost_usd) as dollars, count(*) filter (where outcome = 'answered') as answers,
                     count(*) filter (where outcome = 'answered' and cost_usd is null) as unpriced
              from attempts semi join open_runs using (run_no) group by run_no)
select r.run_id, (select map(list(status), list(rows)) from ended e where e.run_no = r.run_no),
       case when unpriced = answers and answers > 0 then null else coalesce(dollars, 0) end
from runs r join open_runs using (run_no) left join paid using (run_no);

-- name: row_outcomes
-- All outcomes of the row with an id, else with a number, newest run first.
select r.run_id, r.run_no, r.prompt_version, r.started_at, r.input, o.row_no, o.row_id, o.status, o.failure, o.reason,
    lower(hex(o.key)) as key, o.seq
from outcomes o join runs r using (run_no)
where not starts_with(r.fingerprint, 'judge:') and (o.row_id = $row or (o.row_no = try_cast($row as bigint)
    and not exists (select 1 from outcomes i where i.row_id = $row)))
order by o.run_no desc limit $most;

-- name: judged_runs
-- The runs in which graders asked their own models about a run, newest first. Their fingerprints begin judge:RUN_ID:
select r.run_no, r.run_id, r.fingerprint, e.report, coalesce(sum(a.cost_usd), 0), count(a.seq),
    count(*) filter (where a.outcome = 'answered' and a.cost_usd is null)
from runs r left join run_ends e using (run_no) left join attempts a using (run_no)
where starts_with(r.fingerprint, 'judge:' || $run_id || ':') group by all order by r.run_no desc;

-- name: judged_row
-- What a run's graders asked about one of its rows: half of row_no is the row, the rest tells the questions apart.
select r.run_id, split_part(r.fingerprint, ':', 3) as grader, o.row_no % 2 as question, o.status, o.failure,
    o.reason, lower(hex(o.key)) as key
from outcomes o join runs r using (run_no)
where starts_with(r.fingerprint, 'judge:' || $run_id || ':') and o.row_no // 2 = $row_no
qualify row_number() over (partition by grader, question, key order by r.run_no desc) = 1 order by grader, question, r.run_no;

-- name: same_rows
select a.row_no, b.row_no from outcomes a join outcomes b on case when $by_id then a.row_id = b.row_id else a.row_no = b.row_no end
where a.run_no = $a and b.run_no = $b and a.row_no in (select unnest($rows::bigint[]));

-- name: version_of
select model, system, params, schema, prompt, label from prompt_versions where version = ?;

-- name: request_of
select coalesce(q.user_message, (
        select string_agg(p.part, '' order by p.part_no) from parts p where p.key = q.key and p.seq is null)
    ) as user_message, v.model, v.system, v.params, v.schema, q.prompt_version
from requests q join prompt_versions v on v.version = q.prompt_version where q.key = from_hex(?) limit 1;

-- name: attempts_of
select a.seq, r.run_id, a.row_no, a.number, a.asked_at, a.latency_ms, a.http_status, a.outcome, a.reason, a.failure,
    a.possibly_paid, a.model, a.tier, a.input_tokens, a.cached_tokens, a.output_tokens, a.reasoning_tokens,
    a.cost_usd, coalesce(a.raw, (
        select string_agg(p.part, '' order by p.part_no) from parts p where p.seq = a.seq)) as raw
from attempts a join runs r using (run_no) where a.key = from_hex(?) order by a.seq;

-- name: diff_rows
-- The rows of two runs side by side where they do not end in the same attempt. $by: id, key or row_no.
create or replace temp table diff_rows as
with a as (select row_no, row_id, key, status, failure, seq,
                  case $by when 'id' then coalesce('i' || row_id, 'n' || row_no) when 'key' then coalesce(hex(key), 'n' || row_no)
                           else row_no::varchar end as name
           from outcomes where run_no = $a
           qualify row_number() over (partition by name order by row_no) = 1),
     b as (select row_no, row_id, key, status, failure, seq,
                  case $by when 'id' then coalesce('i' || row_id, 'n' || row_no) when 'key' then coalesce(hex(key), 'n' || row_no)
                           else row_no::varchar end as name
           from outcomes where run_no = $b
           qualify row_number() over (partition by name order by row_no) = 1)
select row_number() over (order by coalesce(b.row_no, a.row_no), a.row_no) as n, a.row_no as a_row_no, b.row_no as b_row_no,
       coalesce(b.row_id, a.row_id) as row_id, a.status as a_status, b.status as b_status,
       a.failure as a_failure, b.failure as b_failure, a.seq as a_seq, b.seq as b_seq
from a full join b using (name)
where a.seq is distinct from b.seq or a.failure is distinct from b.failure or a.row_no is null or b.row_no is null;

-- name: diff_page
select a_row_no, b_row_no, row_id, a_status, b_status, a_failure, b_failure, a_seq, b_seq
from diff_rows where n > $after and n <= $upto order by n;

-- name: diff_size
select (select count(*) from diff_rows), (select count(*) from outcomes where run_no = $a),
       (select count(*) from outcomes where run_no = $b);

-- name: runs_named
select run_no, run_id, prompt_version, fingerprint, settings from runs where starts_with(run_id, ?) order by run_no desc;

-- name: counts
select (select count(*) from attempts) as attempts, (select count(distinct key) from attempts) as keys,
       (select count(*) from requests) as requests, (select count(*) from outcomes) as outcomes,
       (select count(*) from runs) as runs,
       (select count(*) from runs anti join run_ends using (run_no)) as unfinished_runs;

-- name: orphans
select (select count(*) from outcomes o where o.seq is not null and not exists (
            select 1 from attempts a where a.seq = o.seq)) as outcomes_without_attempt,
       (select count(*) from outcomes anti join runs using (run_no)) as outcomes_without_run,
       (select count(*) from climbs c where not exists (select 1 from runs r where r.run_no = c.run_no)
            or (c.seq is not null and not exists (select 1 from attempts a where a.seq = c.seq)))
            as climbs_without_attempt,
       (select count(*) from run_ends anti join runs using (run_no)) as run_ends_without_run,
       (select count(*) from requests anti join attempts using (key)) as requests_without_attempt,
       (select count(*) from parts anti join attempts using (key)) as parts_without_attempt,
       (select count(*) from attempts anti join requests using (key)) as attempts_without_request,
       (select count(*) from attempts anti join runs using (run_no)) as attempts_without_run,
       (select count(*) from runs r where not exists (
            select 1 from prompt_versions v where v.version = r.prompt_version)) as runs_without_prompt_version;

-- name: drop_orphans
delete from outcomes where (seq is not null and seq not in (select seq from attempts))
    or run_no not in (select run_no from runs);
delete from climbs where (seq is not null and seq not in (select seq from attempts))
    or run_no not in (select run_no from runs);
delete from run_ends where run_no not in (select run_no from runs);
delete from requests where key not in (select key from attempts);
delete from parts where key not in (select key from attempts) or seq not in (select seq from attempts);
delete from batch_lines where seq is not null and seq not in (select seq from attempts);

-- name: gaps_are_meant
insert into meta values ('gaps_through', ?::varchar);

-- name: empty_log
-- Takes the log into the database. A log with a header and nothing in it stays where it is unless something is written.
create table written (nothing integer);
drop table written;
checkpoint;

-- name: first_kept_run
-- The first run of the $nights newest nights that reached every row, and its run_id; run 1 when there are fewer nights.
with ends as (select r.run_no, r.resumes from runs r join run_ends e using (run_no)
              where e.status in (select unnest($finished::varchar[])) order by r.run_no desc limit $nights),
     first as (select case when count(*) = $nights then min(coalesce(list_min(resumes), run_no)) else 1 end as run_no
               from ends)
select first.run_no, r.run_id from first left join runs r using (run_no);

-- name: kept_keys
create or replace temp table kept_keys as
    select key from outcomes where run_no >= $first and key is not null
    union select key from climbs where run_no >= $first
    union select key from attempts where run_no >= $first;

-- name: kept_tables
select (select count(*) from attempts), (select count(*) from requests), (select count(*) from outcomes);

-- name: would_be_dropped
select (select count(*) from attempts anti join kept_keys using (key)),
       (select count(*) from requests) - (select count(distinct key) from requests semi join kept_keys using (key)),
       (select count(*) from outcomes where run_no < $first),
       (select coalesce(sum(cost_usd), 0) from attempts anti join kept_keys using (key));

-- name: database
select current_database();

-- name: copy_kept
insert into prompt_versions by name select * from before.prompt_versions;
insert into runs by name select * from before.runs;
insert into run_ends by name select * from before.run_ends;
insert into attempts by name select * from before.attempts semi join kept_keys using (key);
insert into requests by name select * from before.requests
    where key in (select key from kept_keys)
    and rowid in (select min(rowid) from before.requests group by key);
insert into parts by name select * from before.parts semi join kept_keys using (key);
insert into batches by name select * from before.batches;
insert into batch_events by name select * from before.batch_events;
insert into batch_requests by name select * from before.batch_requests where intent not in
    (select intent from before.batch_events where event in ('collected', 'abandoned'));
insert into batch_lines by name select * from before.batch_lines where intent not in
    (select intent from before.batch_events where event in ('collected', 'abandoned'));
insert into outcomes by name select * from before.outcomes where run_no >= $first;

-- name: copy_climbs
insert into climbs by name select * from before.climbs where run_no >= $first;

-- name: schema_3
-- An intent is a batch that is to be created once and never twice: its requests are stored first, then its row in
-- batches, then each step as an event: uploaded (ref: file), created (ref: batch), ended (detail: the provider's
-- state), took (detail: seconds; ref: 'rehearsal' where the simulator may have answered), collected or abandoned
-- (detail: why), removed (the upload is deleted). It is open until it is collected or abandoned. batch_lines has the
-- requests whose line in the provider's files is dealt with.
create table batches (intent varchar not null, run_no integer not null, made_at timestamp not null,
    requests bigint not null, bytes bigint not null, tokens bigint not null, worst_usd decimal(18, 12));
create table batch_requests (intent varchar not null, place bigint not null, key blob not null, row_no bigint not null,
    number smallint not null, worst_usd decimal(18, 12), body varchar not null);
create table batch_events (intent varchar not null, happened_at timestamp not null, event varchar not null, ref varchar,
    detail varchar);
create table batch_lines (intent varchar not null, run_no integer not null, key blob not null, seq bigint,
    what varchar not null);
insert into meta values ('schema_version', '3');

-- name: schema_4
-- The models of a ladder that a row left for the next one, in order. What it came to is in its outcome.
create table climbs (
    run_no integer not null, row_no bigint not null, rung smallint not null, key blob not null,
    seq bigint,                         -- the last attempt that was looked at; null: none of its replies is stored
    failure varchar not null, reason varchar);
insert into meta values ('schema_version', '4');

-- name: insert_climbs
insert into climbs select unnest(?::integer[]), unnest(?::bigint[]), unnest(?::smallint[]), unnest(?::blob[]),
    unnest(?::bigint[]), unnest(?::varchar[]), unnest(?::varchar[]);

-- name: climbs_between
select row_no, rung from climbs where run_no = ? and row_no >= ? and row_no < ?;

-- name: climbs_of
select rung, lower(hex(key)) as key, seq, failure, reason from climbs where run_no = ? and row_no = ? order by rung;

-- name: insert_batch_requests
insert into batch_requests select unnest(?::varchar[]), unnest(?::bigint[]), unnest(?::blob[]), unnest(?::bigint[]),
    unnest(?::smallint[]), unnest(?::decimal(18, 12)[]), unnest(?::varchar[]);

-- name: insert_batch
insert into batches values (?, ?, make_timestamp(?), ?, ?, ?, ?::decimal(18, 12));

-- name: insert_batch_event
insert into batch_events values (?, make_timestamp(?), ?, ?, ?);

-- name: insert_batch_lines
insert into batch_lines select unnest(?::varchar[]), unnest(?::integer[]), unnest(?::blob[]), unnest(?::bigint[]),
    unnest(?::varchar[]);

-- name: drop_batches_never_meant
delete from batch_requests where intent not in (select intent from batches);

-- name: open_batches
with last as (select intent,
        max(ref) filter (where event = 'uploaded') as file_id, max(ref) filter (where event = 'created') as batch_id,
        max(detail) filter (where event = 'ended') as ended, bool_or(event in ('collected', 'abandoned')) as closed
    from batch_events group by intent)
select b.intent, b.run_no, epoch(b.made_at), b.requests, b.bytes, b.tokens, b.worst_usd, l.file_id, l.batch_id, l.ended
from batches b left join last l using (intent) where not coalesce(l.closed, false) order by b.made_at, b.intent;

-- name: uploads_left
select e.intent, max(e.ref) from batch_events e where e.event = 'uploaded'
    and e.intent in (select intent from batch_events where event in ('collected', 'abandoned'))
    and e.intent not in (select intent from batch_events where event = 'removed') group by e.intent;

-- name: batch_bodies
select body from batch_requests where intent = ? and place >= ? and place < ? order by place;

-- name: keys_in_batches
select distinct lower(hex(key)) from batch_requests
where intent in (select unnest(?::varchar[])) and key in (select unnest(?::blob[]));

-- name: batches_tried
-- How many batches of a run had a key, and what the last attempt failed with. $unasked: those too that ended before it.
select lower(hex(l.key)), count(distinct l.intent), arg_max(a.failure, a.seq), arg_max(a.reason, a.seq)
from batch_lines l left join attempts a on a.seq = l.seq
where l.run_no = $run_no and (l.what = 'tried' or ($unasked and l.what in ('expired', 'cancelled')))
    and l.key in (select unnest($keys::blob[])) group by l.key;

-- name: batch_asked
select lower(hex(r.key)), r.row_no, r.number, r.worst_usd, r.body from batch_requests r
where r.intent = $intent and r.key in (select unnest($keys::blob[]))
    and not exists (select 1 from batch_lines l where l.intent = $intent and l.key = r.key);

-- name: answered_since
select distinct lower(hex(key)) from attempts
where asked_at > make_timestamp(?) and outcome = 'answered' and key in (select unnest(?::blob[]));

-- name: batch_unanswered
select lower(hex(r.key)), r.row_no, r.number, r.worst_usd, r.body from batch_requests r
where r.intent = $intent and not exists (select 1 from batch_lines l where l.intent = $intent and l.key = r.key)
order by r.place limit $most;

-- name: rows_asked_for
select seq, row_no from attempts where run_no = ? and seq in (select unnest(?::bigint[]));
