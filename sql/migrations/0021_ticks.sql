-- Works with programs of version 12 of the schema and later.
--
-- When a schedule ticks, in SQL: one reading of cron expressions for INSERT, preview and planning, by the rules of
-- pgsched/cron.py, and one walk of them. The tests hold the two against each other.

comment on column pgsched.tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like; options as days=both may follow.';
comment on column pgsched.archived_tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like; options as days=both may follow.';

create type pgsched.cron_rule as (
  problem text, -- the rule that the expression breaks; the other fields mean nothing then
  second bigint, minute bigint, hour bigint, day bigint, month bigint, weekday bigint, -- bit n: the value n
  from_end bigint, -- bit 31-n: L-n
  near bigint, -- bit n: nW
  near_end bigint, -- bit 31-n: L-nW
  nth bigint, -- bit 7n+d: weekday d for the nth time, for the last time with n = 0
  "both" boolean, -- day of month and weekday must both match; false: either
  fixed boolean, -- it names times of the day, not a rhythm
  runs_skipped boolean, -- times that the clocks skip run once right after them
  repeated text, -- times that come twice run in the first pass, the second or both
  weeks integer, week_of date, -- every so many weeks, from the week of this day; null: every week
  "except" text[], -- days that are left out, as 12-25 and 2030-12-25
  moves boolean -- their ticks run on the next workday
);
comment on type pgsched.cron_rule is 'A cron expression that was read, as sets of bits.';

create function pgsched.lowest_bit(bits bigint) returns integer
language sql immutable strict
-- The number of the lowest bit that is set. A power of two is exact as a float.
return round(ln((bits & -bits)::double precision) / 0.69314718055994531)::integer;
comment on function pgsched.lowest_bit is 'For the schema: the number of the lowest bit that is set.';

create or replace function pgsched.cron_number(word text, low integer, high integer, names text[]) returns integer
language sql immutable
-- The number that a word of a cron field stands for; null when it stands for none.
return case
  when word = any(names) then array_position(names, word) - 1 + low
  when word ~ '^0*[0-9]{1,9}$' and word::integer between low and high then word::integer
end;

create function pgsched.shown_word(word text) returns text
language sql immutable
return case when word ~ '^[0-9]+$' then word when word = '' then 'nothing' else '"' || word || '"' end;
comment on function pgsched.shown_word is 'For the schema: a word of a cron expression as a message shows it.';

create function pgsched.number_problem(label text, word text, low integer, high integer, names text[]) returns text
language sql immutable
return case
  when word ~ '^[0-9]+$' then format('%s must be between %s and %s, got %s', label, low, high, word)
  else format('%s must be a number between %s and %s%s, got %s', label, low, high,
    ' or a name (' || names[1] || ')', pgsched.shown_word(word))
end;
comment on function pgsched.number_problem is 'For the schema: why a word of a cron field stands for no number.';

create function pgsched.month_length(year integer, month integer) returns integer
language sql immutable strict
return case
  when month <> 2 then 30 + (month + month / 8) % 2
  when year % 4 = 0 and (year % 100 <> 0 or year % 400 = 0) then 29
  else 28 end;
comment on function pgsched.month_length is 'For the schema: how many days a month has.';

create function pgsched.read_day(word text) returns date
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A day as 2030-01-07; null when it is none.
begin
  if word ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' and left(word, 4) > '0000' and substr(word, 6, 2) between '01' and '12'
    and right(word, 2)::integer
      between 1 and pgsched.month_length(left(word, 4)::integer, substr(word, 6, 2)::integer) then
    return make_date(left(word, 4)::integer, substr(word, 6, 2)::integer, right(word, 2)::integer);
  end if;
  return null;
end $$;
comment on function pgsched.read_day is 'For the schema: a day of the calendar, or null.';

create function pgsched.are_days(days text[]) returns boolean
language sql immutable strict
return coalesce(cardinality(days) <= 1000 and not exists (
  select from unnest(days) as day
  where pgsched.read_day(case when length(day) = 5 then '2000-' || day else day end) is null), true);
comment on function pgsched.are_days is 'For the schema: whether these are days, of every year or of one.';

create table pgsched.calendars (
  name text primary key constraint name_must_be_a_word_of_lower_case check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  days text[] not null constraint days_must_be_up_to_1000_as_12_25_and_2030_04_19 check (pgsched.are_days(days))
);
comment on table pgsched.calendars is 'Days that cron expressions leave out by name, as except=@holidays.';
comment on column pgsched.calendars.name is 'What expressions call it, after an @.';
comment on column pgsched.calendars.days is 'As 12-25, of every year, and 2030-04-19.';
comment on constraint name_must_be_a_word_of_lower_case on pgsched.calendars is 'Cron expressions name it.';
comment on constraint days_must_be_up_to_1000_as_12_25_and_2030_04_19 on pgsched.calendars is
  'A day that cannot be read would be left out of nothing.';

create function pgsched.calendar_days(expression text) returns text[]
language sql stable strict
set search_path = pg_catalog, pg_temp as $$
-- The names are looked for as they may stand: after except= or a comma.
select array_agg(day)
from regexp_matches(lower(expression collate "C"), '[=,]@([a-z][a-z0-9_-]*)', 'g') as found(names)
join pgsched.calendars c on c.name = found.names[1]
cross join unnest(c.days) as day
$$;
comment on function pgsched.calendar_days is
  'For workers: the days of the calendars that a cron expression names; null when there are none.';

create function pgsched.follow_calendar() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A schedule that leaves the days of a calendar out is planned afresh when they change, and keeps the calendar.
declare
  pattern text := '[=,]@' || old.name || '([,[:space:]]|$)';
  task_id bigint;
begin
  if tg_op = 'DELETE' or new.name <> old.name then
    select t.id into task_id from pgsched.tasks t
    where t.cron_expression is not null and lower(t.cron_expression collate "C") ~ pattern limit 1;
    if found then
      raise object_in_use using message = format('calendar %s is named by the cron expression of task %s', old.name, task_id);
    end if;
  elsif new.days <> old.days then
    update pgsched.tasks t set planned_from = clock_timestamp()
    where t.cron_expression is not null and lower(t.cron_expression collate "C") ~ pattern
      and t.status in ('pending', 'running', 'blocked');
  end if;
  return new;
end $$;
comment on function pgsched.follow_calendar is 'For the schema: plans the schedules of a calendar afresh when its days change.';
revoke execute on function pgsched.follow_calendar from public;
create trigger follow after update or delete on pgsched.calendars for each row execute function pgsched.follow_calendar();

create function pgsched.is_excepted(rule pgsched.cron_rule, day date) returns boolean
language sql immutable
return to_char(day::timestamp, 'MM-DD') = any(rule."except") or to_char(day::timestamp, 'YYYY-MM-DD') = any(rule."except");
comment on function pgsched.is_excepted is 'For the schema: whether a cron expression leaves a day out.';

create function pgsched.month_days(rule pgsched.cron_rule, first integer, length integer) returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- All operators of bits bind alike, from left to right: hence the parentheses.
-- The days of a month that match, bit n for day n. A month is known by the weekday of its first day and its length.
declare
  -- Times this, seven bits become five weeks.
  weeks constant bigint := 1 + (1 << 7) + (1 << 14) + (1 << 21) + (1 << 28);
  every_day bigint := (2::bigint << length) - 2;
  last_day bigint := 1::bigint << length;
  by_day bigint := rule.day | (rule.from_end >> (31 - length));
  by_weekday bigint := (((rule.weekday >> first) | (rule.weekday << (7 - first))) & 127) * weeks << 1;
  near bigint := (rule.near | (rule.near_end >> (31 - length))) & every_day;
  bits bigint;
  saturdays bigint;
  sundays bigint;
begin
  if rule.nth <> 0 then
    for n in 0..5 loop
      bits := rule.nth >> (7 * n) & 127;
      continue when bits = 0;
      bits := ((bits >> first) | (bits << (7 - first))) & 127;
      by_weekday := by_weekday | case n
        when 0 then (bits * weeks << 1) & ~((2::bigint << (length - 7)) - 1)
        else bits << (7 * n - 6) end;
    end loop;
  end if;
  if near <> 0 then
    saturdays := (1 << (6 - first)) * weeks << 1;
    sundays := (1 << ((7 - first) % 7)) * weeks << 1;
    by_day := by_day | (near & ~(saturdays | sundays))
      | ((near & saturdays & ~2::bigint) >> 1) | ((near & saturdays & 2) << 2)
      | ((near & sundays & ~last_day) << 1) | ((near & sundays & last_day) >> 2);
  end if;
  return every_day & case when rule."both" then by_day & by_weekday else by_day | by_weekday end;
end $$;
comment on function pgsched.month_days is
  'For the schema: the days of a month that a cron expression names, as a set of bits.';

create function pgsched.read_cron(expression text) returns pgsched.cron_rule
language plpgsql stable strict
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Word by word as pgsched/cron_fields.py and pgsched/cron_options.py, with the same messages.
declare
  labels constant text[] := array['second', 'minute', 'hour', 'day of month', 'month', 'day of week'];
  lows constant integer[] := array[0, 0, 0, 1, 1, 0];
  highs constant integer[] := array[59, 59, 23, 31, 12, 7];
  -- The highest value: Sunday is 7 as a word only.
  tops constant integer[] := array[59, 59, 23, 31, 12, 6];
  rule pgsched.cron_rule;
  -- Only ASCII spaces part fields.
  fields text[] := array_remove(
    string_to_array(translate(lower(expression collate "C"), e'\t\n\r\f\x0b', '     '), ' '), '');
  bits bigint;
  sets bigint[];
  from_end bigint := 0;
  near bigint := 0;
  near_end bigint := 0;
  nth bigint := 0;
  stepping boolean := false;
  seconds_step boolean;
  days text;
  skipped text;
  repeated text;
  instead text;
  weeks text;
  "except" text[];
  names text[];
  item text;
  span text;
  step text;
  word text;
  place integer;
  start integer;
  stop integer;
  stride integer;
begin
  if length(expression) > 1000 then
    rule.problem := 'must have at most 1000 characters, got ' || length(expression);
    return rule;
  end if;
  start := cardinality(fields);
  while fields[start] like '%=%' loop
    start := start - 1;
  end loop;
  foreach item in array fields[start + 1 :] loop
    place := strpos(item, '=');
    step := left(item, place - 1);
    word := substr(item, place + 1);
    if step not in ('days', 'skipped', 'repeated', 'weeks', 'except', 'instead') then
      rule.problem := 'an option must be one of days= skipped= repeated= weeks= except= instead=, got ' || pgsched.shown_word(item);
    elsif step = any(names) then
      rule.problem := format('option %s must come once', step);
    elsif step = 'days' and word not in ('both', 'either') then
      rule.problem := 'option days must be both or either, got ' || pgsched.shown_word(word);
    elsif step = 'skipped' and word not in ('run', 'skip') then
      rule.problem := 'option skipped must be run or skip, got ' || pgsched.shown_word(word);
    elsif step = 'repeated' and word not in ('first', 'second', 'both') then
      rule.problem := 'option repeated must be first or second or both, got ' || pgsched.shown_word(word);
    elsif step = 'instead' and word not in ('skip', 'workday') then
      rule.problem := 'option instead must be skip or workday, got ' || pgsched.shown_word(word);
    end if;
    if rule.problem is not null then
      return rule;
    end if;
    days := case when step = 'days' then word else days end;
    skipped := case when step = 'skipped' then word else skipped end;
    repeated := case when step = 'repeated' then word else repeated end;
    weeks := case when step = 'weeks' then word else weeks end;
    "except" := case when step = 'except' then coalesce(nullif(string_to_array(word, ','), '{}'), array['']) else "except" end;
    instead := case when step = 'instead' then word else instead end;
    names := names || step;
  end loop;
  fields := fields[: start];
  if instead is not null and "except" is null then
    rule.problem := 'option instead must come with except';
    return rule;
  end if;
  if weeks is not null then
    if weeks ~ '^[0-9]{1,2}@' then
      rule.weeks := split_part(weeks, '@', 1);
      rule.week_of := pgsched.read_day(substr(weeks, strpos(weeks, '@') + 1));
    end if;
    if rule.week_of is null or rule.weeks not between 2 and 52 then
      rule.problem := 'option weeks must be 2 to 52 and a day of a week that counts, as 2@2030-01-07, got '
        || pgsched.shown_word(weeks);
      return rule;
    end if;
  end if;
  if "except" is not null then
    foreach word in array "except" loop
      if word ~ '^@[a-z][a-z0-9_-]{0,62}$' then
        select c.days into names from pgsched.calendars c where c.name = substr(word, 2);
        if not found then
          rule.problem := format('option except names a calendar that is not in pgsched.calendars, got "%s"', word);
          return rule;
        end if;
        "except" := "except" || names;
      elsif pgsched.read_day(case when length(word) = 5 then '2000-' || word else word end) is null then
        rule.problem := 'option except must be days or calendars, as 12-25,2030-04-19,@holidays, got ' || pgsched.shown_word(word);
        return rule;
      end if;
    end loop;
  end if;
  if fields[1] like '@%' then
    word := case array_to_string(fields, ' ')
      when '@hourly' then '0 * * * *' when '@daily' then '0 0 * * *' when '@midnight' then '0 0 * * *'
      when '@weekly' then '0 0 * * 0' when '@monthly' then '0 0 1 * *'
      when '@yearly' then '0 0 1 1 *' when '@annually' then '0 0 1 1 *' end;
    if word is null then
      rule.problem := 'an alias must be one of @hourly @daily @midnight @weekly @monthly @yearly @annually';
      return rule;
    end if;
    fields := string_to_array(word, ' ');
  end if;
  if cardinality(fields) = 5 then
    fields := array['0'] || fields;
  elsif cardinality(fields) <> 6 then
    rule.problem := 'must have 5 fields (minute hour day month weekday) or 6 with seconds first, got '
      || cardinality(fields);
    return rule;
  end if;
  for i in 1..6 loop
    if i = 2 then
      seconds_step := stepping;
    end if;
    if fields[i] = '?' and i in (4, 6) then
      fields[i] := '*';
    end if;
    if fields[i] = '*' then
      sets[i] := (2::bigint << tops[i]) - (1 << lows[i]);
      stepping := stepping or i <= 3;
      continue;
    end if;
    names := case i
      when 5 then array['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
      when 6 then array['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] end;
    bits := 0;
    foreach item in array string_to_array(fields[i], ',') loop
      if i = 4 and item ~ '[lw]' then
        -- l, l-3, 15w, lw, l-3w
        word := regexp_replace(item, 'w$', '');
        if word not like 'l%' then
          start := pgsched.cron_number(word, 1, 31, names);
          if start is null then
            rule.problem := pgsched.number_problem(labels[i], word, 1, 31, names);
            return rule;
          end if;
          near := near | (1::bigint << start);
        else
          start := case
            when word = 'l' then 0
            else pgsched.cron_number(regexp_replace(word, '^l-', ''), 1, 30, names) end;
          if start is null then
            rule.problem := labels[i] || ' after L must be -1 to -30, got ' || pgsched.shown_word(substr(word, 2));
            return rule;
          elsif word = item then
            from_end := from_end | (1::bigint << (31 - start));
          else
            near_end := near_end | (1::bigint << (31 - start));
          end if;
        end if;
        continue;
      end if;
      if i = 6 and item ~ '[#l]' then
        -- mon#2, and the last one: 5l, l5, fril
        place := strpos(item, '#');
        word := case
          when place > 0 then left(item, place - 1)
          when item like '%l' then left(item, -1)
          else regexp_replace(item, '^l', '') end;
        stride := case
          when place = 0 then 0
          when substr(item, place + 1) ~ '^[1-5]$' then substr(item, place + 1)::integer end;
        start := pgsched.cron_number(word, 0, 7, names);
        if stride is null then
          rule.problem := labels[i] || ' after # must be between 1 and 5, got '
            || pgsched.shown_word(substr(item, place + 1));
        elsif place = 0 and word = '' then
          rule.problem := labels[i] || ' L must come with a weekday, as in 5L';
        elsif start is null then
          rule.problem := pgsched.number_problem(labels[i], word, 0, 7, names);
        end if;
        if rule.problem is not null then
          return rule;
        end if;
        nth := nth | (1::bigint << (7 * stride + start % 7));
        continue;
      end if;
      place := strpos(item, '/');
      span := case when place > 0 then left(item, place - 1) else item end;
      step := case when place > 0 then substr(item, place + 1) end;
      place := strpos(span, '-');
      if span = '*' then
        start := lows[i];
        stop := tops[i];
      else
        word := case when place > 0 then left(span, place - 1) else span end;
        start := pgsched.cron_number(word, lows[i], highs[i], names);
        if start is not null and place > 0 then
          word := substr(span, place + 1);
          -- A range may end on Sunday: fri-sun.
          stop := case when i = 6 and word in ('sun', '0') and start > 0 then 7
            else pgsched.cron_number(word, lows[i], highs[i], names) end;
        else
          stop := case when step is null then start else tops[i] end;
        end if;
        if start is null or stop is null then
          rule.problem := pgsched.number_problem(labels[i], word, lows[i], highs[i], names);
          return rule;
        elsif stop < start then
          rule.problem := format('%s range must not run backwards, got %s', labels[i], span);
          return rule;
        end if;
      end if;
      stride := case when step is null then 1 else pgsched.cron_number(step, 1, highs[i], null) end;
      if stride is null then
        rule.problem := format(
          '%s step must be between 1 and %s, got %s', labels[i], highs[i], pgsched.shown_word(step));
        return rule;
      end if;
      stepping := stepping or i <= 3 and (span = '*' or step is not null and place = 0);
      for value in start..stop by stride loop
        bits := bits | (1::bigint << case when i = 6 then value % 7 else value end);
      end loop;
    end loop;
    sets[i] := bits;
  end loop;
  if seconds_step and fields[6] ~ '[0-9/]' then
    rule.problem := 'may mean seconds first or last; they come first: name the weekday if that is meant, as in "sun", got "'
      || fields[6] || '"';
    return rule;
  end if;
  rule := (null, sets[1], sets[2], sets[3], sets[4], sets[5], sets[6], from_end, near, near_end, nth,
    coalesce(days = 'both', fields[4] like '*%' or fields[6] like '*%'),
    not stepping, coalesce(skipped = 'run', not stepping), coalesce(repeated, case when stepping then 'both' else 'first' end),
    rule.weeks, rule.week_of, "except", coalesce(instead = 'workday', false));
  -- It can fire when some month has a day that matches; the first that is looked at nearly always has.
  for look in 1..2 loop
    for length in reverse 31..28 loop
      continue when rule.month & case length when 31 then 5546 when 30 then 2640 else 4 end = 0;
      for opening in 0..6 loop
        if pgsched.month_days(rule, opening, length) <> 0 then
          if look = 2 then
            rule.problem := format(
              'can never fire: no such month has a day that is both %s and %s', fields[4], fields[6]);
          elsif (weeks is not null or "except" is not null)
            and pgsched.wall_from(rule, '2000-01-01 00:00:00') is null then
            rule.problem := 'can never fire: its options leave no day';
          end if;
          return rule;
        end if;
      end loop;
    end loop;
    -- By the day alone.
    rule.weekday := 127;
    rule."both" := true;
  end loop;
  rule.problem := 'can never fire: no such month has a day ' || fields[4];
  return rule;
end $$;
comment on function pgsched.read_cron is 'For the schema: a cron expression as sets of bits, or the rule that it breaks.';

create or replace function pgsched.cron_problem(expression text) returns text
language sql stable strict
return (pgsched.read_cron(expression)).problem;
alter function pgsched.cron_problem reset all;

create function pgsched.matching_days(rule pgsched.cron_rule, starts date) returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The days of the month that begins with a day that match, in weeks that count.
declare
  length integer := pgsched.month_length(date_part('year', starts)::integer, date_part('month', starts)::integer);
  bits bigint := pgsched.month_days(rule, date_part('dow', starts)::integer, length);
begin
  if (rule.month >> date_part('month', starts)::integer) & 1 = 0 then
    return 0;
  elsif rule.weeks is not null then
    for day in 1..length loop
      -- Weeks begin on Monday, as the first day of the calendar does.
      if ((starts + day - 1 - date '0001-01-01') / 7 - (rule.week_of - date '0001-01-01') / 7) % rule.weeks <> 0 then
        bits := bits & ~(1::bigint << day);
      end if;
    end loop;
  end if;
  return bits;
end $$;
comment on function pgsched.matching_days is
  'For the schema: the days of one month that a cron expression names, as a set of bits.';

create function pgsched.open_days(rule pgsched.cron_rule, starts date) returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The same without the days that are left out, and with those on which their ticks run instead, LONGEST_MOVE of
-- pgsched/cron_options.py at most after them.
declare
  bits bigint := 0;
  opening date := date_trunc('month', greatest(case when rule.moves then starts - 31 else starts end, '0001-01-01')::timestamp);
  ends date := starts + interval '1 month';
  matching bigint;
  day date;
begin
  while opening <= starts loop
    matching := pgsched.matching_days(rule, opening);
    while matching <> 0 loop
      day := opening + pgsched.lowest_bit(matching) - 1;
      matching := matching & (matching - 1);
      if pgsched.is_excepted(rule, day) then
        continue when not rule.moves;
        day := (
          select day + later from generate_series(1, 31) as later
          where date_part('isodow', day + later) < 6 and not pgsched.is_excepted(rule, day + later)
          order by later limit 1);
      end if;
      if day >= starts and day < ends then
        bits := bits | (1::bigint << (day - starts + 1));
      end if;
    end loop;
    opening := opening + interval '1 month';
  end loop;
  return bits;
end $$;
comment on function pgsched.open_days is
  'For the schema: the days of one month on which a cron expression ticks that leaves days out, as a set of bits.';

create function pgsched.wall_from(rule pgsched.cron_rule, wall timestamp) returns timestamp
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The first match at or after a wall-clock time of whole seconds; null when there is none within 400 years, REACH of
-- pgsched/cron.py, or before the year 9999 ends.
declare
  year integer := date_part('year', wall);
  last_year integer := least(year + 400, 9999);
  month integer := date_part('month', wall);
  least integer := date_part('day', wall);
  hour integer := date_part('hour', wall);
  minute integer := date_part('minute', wall);
  second integer := date_part('second', wall);
  bits bigint := 0;
  -- Any month may have a tick where ticks are moved.
  months bigint := case when rule.moves then 8190 else rule.month end;
  starts date;
begin
  -- The time of day that is left today, if there is one.
  if rule.hour >> hour & 1 = 1 then
    if rule.minute >> minute & 1 = 1 then
      bits := rule.second >> second << second;
      second := pgsched.lowest_bit(nullif(bits, 0));
    end if;
    if bits = 0 then
      bits := rule.minute >> (minute + 1) << (minute + 1);
      minute := pgsched.lowest_bit(nullif(bits, 0));
      second := pgsched.lowest_bit(rule.second);
    end if;
  end if;
  if bits = 0 then
    bits := rule.hour >> (hour + 1) << (hour + 1);
    hour := pgsched.lowest_bit(nullif(bits, 0));
    minute := pgsched.lowest_bit(rule.minute);
    second := pgsched.lowest_bit(rule.second);
  end if;
  if bits = 0 then
    least := least + 1;
    hour := pgsched.lowest_bit(rule.hour);
  end if;
  loop
    bits := months >> month << month;
    if bits = 0 then
      year := year + 1;
      bits := months;
      month := 0;
    end if;
    if month <> pgsched.lowest_bit(bits) then
      month := pgsched.lowest_bit(bits);
      least := 0;
    end if;
    exit when year > last_year;
    starts := make_date(year, month, 1);
    bits := case when rule."except" is null then pgsched.matching_days(rule, starts)
      else pgsched.open_days(rule, starts) end;
    bits := bits >> least << least;
    if bits <> 0 then
      least := pgsched.lowest_bit(bits);
      if starts + least - 1 <> wall::date then
        hour := pgsched.lowest_bit(rule.hour);
        minute := pgsched.lowest_bit(rule.minute);
        second := pgsched.lowest_bit(rule.second);
      end if;
      return make_timestamp(year, month, least, hour, minute, second);
    end if;
    month := month + 1;
    least := 0;
  end loop;
  return null;
end $$;
comment on function pgsched.wall_from is
  'For the schema: the first wall-clock time at or after another that a cron expression names.';

create function pgsched.clock_change(before timestamptz, until timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The instant in (before, until] at which the session's zone changes its offset: there must be one.
declare
  base timestamptz := date_trunc('second', before);
  shift interval := base::timestamp - timezone(interval '0', base);
  low integer := 0;
  high integer := ceil(date_part('epoch', until) - date_part('epoch', base));
  middle integer;
  instant timestamptz;
begin
  while high - low > 1 loop
    middle := (low + high) / 2;
    instant := base + middle * interval '1 second';
    if instant::timestamp - timezone(interval '0', instant) = shift then
      low := middle;
    else
      high := middle;
    end if;
  end loop;
  return base + high * interval '1 second';
end $$;
comment on function pgsched.clock_change is
  'For the schema: when the clocks of the session''s zone change between two instants.';

create function pgsched.early_reading(wall timestamp, late timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The earlier of the two instants that a wall-clock time may be read as in the session's zone; `late`, the other one, is
-- how PostgreSQL reads it. They are the same for a plain time, both real in a fold and neither in a gap.
declare
  shift interval := late::timestamp - wall;
  early timestamptz;
begin
  if shift = interval '0' then
    shift := (late - interval '24 hours')::timestamp + interval '24 hours' - wall;
    if shift <= interval '0' then
      return late;
    end if;
  end if;
  early := late - make_interval(secs => date_part('epoch', shift));
  return case when late::timestamp <> wall or early::timestamp = wall then early else late end;
end $$;
comment on function pgsched.early_reading is
  'For the schema: the earlier instant that a wall-clock time of the session''s zone may mean.';

create function pgsched.cron_tick(rule pgsched.cron_rule, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The first tick at or after an instant in the session's zone, as _first_from in pgsched/cron.py.
declare
  start timestamptz := date_trunc('second', moment - interval '1 microsecond') + interval '1 second';
  -- Right at the end of a gap the second before still sees what fell in the gap.
  wall timestamp := least(start::timestamp, (start - interval '1 second')::timestamp + interval '1 second');
  match timestamp;
  early timestamptz;
  late timestamptz := wall::timestamptz;
begin
  if rule.repeated <> 'first' and start < late and start::timestamp = wall then
    -- start is in the first pass of a fold: in the second one its times come again, also those before start.
    late := pgsched.clock_change(start, late);
    if rule.repeated = 'both' then
      match := pgsched.wall_from(rule, wall);
      early := pgsched.early_reading(match, match::timestamptz);
      if early < late then
        return early;
      end if;
    end if;
    start := late;
    wall := start::timestamp;
  end if;
  loop
    match := pgsched.wall_from(rule, wall);
    if match is null then
      return null;
    end if;
    late := match::timestamptz;
    early := pgsched.early_reading(match, late);
    if late::timestamp <> match then
      -- Debian's cron takes a jump of more than three hours for a correction and does not run what was jumped over.
      if rule.runs_skipped and late - early <= interval '3 hours' then
        return pgsched.clock_change(early, late);
      end if;
      wall := pgsched.clock_change(early, late)::timestamp;
    elsif early >= start and rule.repeated <> 'second' then
      return early;
    elsif early = late or rule.repeated <> 'first' then
      return late;
    else
      -- start is in the second pass, the first one ran: go on where the fold ends.
      wall := (pgsched.clock_change(early, late) - interval '1 second')::timestamp + interval '1 second';
    end if;
  end loop;
end $$;
comment on function pgsched.cron_tick is
  'For the schema: the first tick of a cron expression at or after an instant, in the session''s zone.';

create function pgsched.grid_point(origin timestamptz, step interval, index bigint) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- origin + index * step: first the months, clamped to the last day of a month, then the days, both on the wall clock of the
-- session's zone, then elapsed time. What falls in a gap is its end, what falls in a fold the first pass.
declare
  months bigint := index * (date_part('year', step) * 12 + date_part('month', step))::integer;
  days bigint := index * date_part('day', step)::integer;
  -- Whole microseconds: a float does not hold them beyond 285 years.
  elapsed bigint := index * pgsched.elapsed_part(step);
  wall timestamp;
  late timestamptz := origin;
begin
  if months <> 0 or days <> 0 then
    wall := origin::timestamp + make_interval(months => months::integer, days => days::integer);
    late := wall::timestamptz;
    origin := pgsched.early_reading(wall, late);
    if late::timestamp <> wall then
      origin := pgsched.clock_change(origin, late);
    end if;
  end if;
  return origin
    + make_interval(hours => (elapsed / 3600000000)::integer, secs => elapsed % 3600000000 / 1e6::double precision);
end $$;
comment on function pgsched.grid_point is
  'For the schema: an instant and so many intervals after it, in the session''s zone.';

create function pgsched.elapsed_part(step interval) returns bigint
language sql immutable strict
return (extract(hour from step) * 3600000000 + extract(minute from step) * 60000000
  + extract(microsecond from step))::bigint;
comment on function pgsched.elapsed_part is 'For the schema: the microseconds of an interval beside its months and days.';

create function pgsched.grid_tick(origin timestamptz, step interval, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The first point at or after an instant, as Grid.index_from in pgsched/grid.py.
declare
  day constant bigint := 86400000000;
  passed bigint := extract(epoch from moment - origin) * 1000000;
  months bigint := date_part('year', step) * 12 + date_part('month', step);
  days bigint := date_part('day', step);
  elapsed bigint := pgsched.elapsed_part(step);
  low bigint;
  high bigint;
  middle bigint;
begin
  if passed <= 0 then
    return origin;
  end if;
  -- The offsets of a zone differ by a day at most.
  low := greatest(0, (passed - 2 * day) / ((31 * months + days) * day + elapsed));
  high := (passed + 2 * day) / ((28 * months + days) * day + elapsed) + 1;
  if months = 0 and days = 0 then
    low := (passed + elapsed - 1) / elapsed;
    high := low;
  end if;
  while low < high loop
    middle := (low + high) / 2;
    if pgsched.grid_point(origin, step, middle) >= moment then
      high := middle;
    else
      low := middle + 1;
    end if;
  end loop;
  return pgsched.grid_point(origin, step, low);
end $$;
comment on function pgsched.grid_tick is
  'For the schema: the first instant of a grid of intervals at or after another, in the session''s zone.';

create function pgsched.first_tick(task pgsched.tasks, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- For planning: the first tick of a row at or after an instant, within start_date and end_date; null when there is none. The
-- zone is set as names of zones are read; `at time zone` would look for an abbreviation first.
declare
  zone text := case when task.timezone <> 'UTC' then set_config('timezone', task.timezone, true) end;
  rule pgsched.cron_rule;
  tick timestamptz;
begin
  if task.cron_expression is not null then
    rule := pgsched.read_cron(task.cron_expression);
    if rule.problem is not null then
      raise invalid_parameter_value using
        message = format('cron_expression %L: %s', left(task.cron_expression, 100), rule.problem),
        column = 'cron_expression', table = 'tasks', schema = 'pgsched';
    end if;
    tick := pgsched.cron_tick(rule, greatest(moment, task.start_date));
  elsif task.repeat_interval is not null then
    tick := pgsched.grid_tick(coalesce(task.start_date, task.scheduled_for, moment), task.repeat_interval, moment);
  end if;
  return case when tick < '9999-12-31 00:00:00+00' and (task.end_date is null or tick <= task.end_date) then tick end;
end $$;
comment on function pgsched.first_tick is
  'For the schema: the first tick of a schedule at or after an instant, from its start to its end; null when there is none.';

create function pgsched.check_timezone(timezone text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses what is no name of a time zone. The table is asked first: the view reads the files of all zones.
begin
  if timezone <> 'UTC'
    and not exists (select from pgsched.timezones z where z.name = timezone)
    and not exists (select from pg_timezone_names z where z.name = timezone
                    and z.name !~ '^(posix|right)/' and z.name not in ('localtime', 'posixrules', 'Factory')) then
    raise invalid_parameter_value using
      message = format('timezone must be a name of the IANA time zone database, got %L', left(timezone, 100)),
      column = 'timezone', table = 'tasks', schema = 'pgsched';
  end if;
end $$;
comment on function pgsched.check_timezone is 'For the schema: refuses what is no name of a time zone.';

create or replace function pgsched.check_schedule(task pgsched.tasks) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a time zone or a cron expression that cannot be read, naming column, value and rule.
declare
  problem text := pgsched.cron_problem(task.cron_expression);
begin
  perform pgsched.check_timezone(task.timezone);
  if problem is not null then
    raise invalid_parameter_value using
      message = format('cron_expression %L: %s', left(task.cron_expression, 100), problem),
      column = 'cron_expression', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

create function pgsched.next_ticks(
  expression text, timezone text default 'UTC', from_time timestamptz default now(), count integer default 5
) returns setof timestamptz
language plpgsql stable strict
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  rule pgsched.cron_rule := pgsched.read_cron(expression);
  tick timestamptz := greatest(from_time, '0001-01-02 00:00:00+00');
begin
  perform pgsched.check_timezone(next_ticks.timezone);
  if rule.problem is not null then
    raise invalid_parameter_value using message = format('cron expression %L: %s', left(expression, 100), rule.problem);
  elsif next_ticks.count not between 1 and 10000 then
    raise invalid_parameter_value using message = format('count must be between 1 and 10000, got %s', next_ticks.count);
  end if;
  perform set_config('timezone', next_ticks.timezone, true);
  for i in 1..next_ticks.count loop
    exit when tick >= '9999-12-30 23:59:59+00';
    tick := pgsched.cron_tick(rule, tick + interval '1 microsecond');
    exit when tick is null or tick >= '9999-12-31 00:00:00+00';
    return next tick;
  end loop;
end $$;
comment on function pgsched.next_ticks is
  e'The next ticks of a cron expression, strictly after an instant: what pgsched task next shows, for every language.\n'
  'expression: Five fields, or six with seconds first, or @daily and the like, and options.\n'
  'timezone: The IANA zone in which it is read.\n'
  'from_time: The ticks are those after it; now if left out.\n'
  'count: How many, 1 to 10000; fewer when there are no more before the year 9999 ends.';

create function pgsched.next_interval_ticks(
  repeat_interval interval, timezone text default 'UTC', start_date timestamptz default now(),
  from_time timestamptz default null, count integer default 5
) returns setof timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  tick timestamptz := greatest(from_time + interval '1 microsecond', start_date);
begin
  perform pgsched.check_timezone(next_interval_ticks.timezone);
  if next_interval_ticks.count not between 1 and 10000 then
    raise invalid_parameter_value using
      message = format('count must be between 1 and 10000, got %s', next_interval_ticks.count);
  end if;
  perform next_interval_ticks.repeat_interval::pgsched.repeat_interval, next_interval_ticks.start_date::pgsched.start_date,
    set_config('timezone', next_interval_ticks.timezone, true);
  for i in 1..next_interval_ticks.count loop
    exit when tick >= '9999-12-31 00:00:00+00';
    tick := pgsched.grid_tick(start_date, repeat_interval, tick);
    exit when tick >= '9999-12-31 00:00:00+00';
    return next tick;
    tick := tick + interval '1 microsecond';
  end loop;
end $$;
comment on function pgsched.next_interval_ticks is
  e'The next ticks of an interval: the points of a grid that begins at start_date.\n'
  'repeat_interval: From tick to tick; months and days keep the wall clock, hours and less are elapsed time.\n'
  'timezone: The IANA zone of that wall clock.\n'
  'start_date: Where the grid begins; now if left out.\n'
  'from_time: The ticks are those after it; if left out, those from start_date on.\n'
  'count: How many, 1 to 10000; fewer when there are no more before the year 9999 ends.';

grant execute on function
  pgsched.lowest_bit, pgsched.month_length, pgsched.shown_word, pgsched.number_problem, pgsched.read_day,
  pgsched.are_days, pgsched.calendar_days, pgsched.is_excepted, pgsched.month_days, pgsched.matching_days, pgsched.open_days, pgsched.read_cron, pgsched.wall_from,
  pgsched.clock_change, pgsched.early_reading, pgsched.cron_tick, pgsched.elapsed_part, pgsched.grid_point, pgsched.grid_tick,
  pgsched.first_tick, pgsched.check_timezone, pgsched.next_ticks, pgsched.next_interval_ticks
to public;
