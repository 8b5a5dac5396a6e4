-- Functions and operators of the other types.
SELECT id, to_char(at, 'YYYY-MM-DD HH24:MI:SS.MS TZ'), to_char(total, 'FM999G990D00'), to_char(qty, '000'), to_char(at - '2024-01-01Z'::timestamptz, 'DD HH24:MI') FROM o
SELECT id, age(at, '2023-05-17Z'::timestamptz), age(at::date::timestamp), at - INTERVAL '1 month 3 days', (at - '2024-01-01Z'::timestamptz) * 1.5 FROM o WHERE id < 0
SELECT id, age(at, '2023-05-17Z'::timestamptz), at - INTERVAL '1 month 3 days', (at - '2024-01-01Z'::timestamptz) * 1.5, (at - '2024-01-01Z'::timestamptz) / 3 FROM o
SELECT id, date_trunc('week', at), date_trunc('day', at, 'Asia/Tokyo'), date_part('quarter', at), extract(epoch FROM at), extract(isoyear FROM at), extract(millennium FROM at) FROM o
SELECT id, at AT TIME ZONE 'America/New_York', at::date + 3, at::date - '2024-01-01'::date, at::time, at::date + time '03:04', date_bin('6 hours', at, '2024-01-01Z'::timestamptz) FROM o
SELECT id, to_date('2024-' || (id % 12 + 1), 'YYYY-MM'), to_timestamp('05 Dec 2000', 'DD Mon YYYY'), make_date(2024, 2, id % 28 + 1), make_interval(days => qty), make_timestamp(2024, 1, 2, 3, 4, 5.5) FROM o
SELECT id, justify_days(INTERVAL '35 days' * qty), justify_interval(INTERVAL '1 mon -1 hour'), extract(day FROM INTERVAL '40 days'), INTERVAL '1-2' + INTERVAL '3 04:05:06' FROM o
SELECT id, d FROM o, generate_series(1, qty) d
SELECT d::date, count(o.id) FROM generate_series('2024-01-01Z'::timestamptz, '2024-03-31Z'::timestamptz, '1 day') d LEFT JOIN o ON o.at >= d AND o.at < d + INTERVAL '1 day' GROUP BY 1
SELECT g, g * 2 FROM generate_series(10, 1, -3) g
SELECT g FROM generate_series(1.0, 2.0, 0.25) g
SELECT generate_series(1, 3), generate_series(1, 2)
SELECT id, regexp_replace(note, '([a-z])l', '<\1>', 'g'), regexp_match(note, '(\w+) (\w+)'), regexp_split_to_array(note, '\s'), note ~* 'RUSH', regexp_count(note, 'l'), regexp_substr(note, '[a-z]+'), regexp_like(note, 'c.ll'), regexp_instr(note, 'l') FROM o
SELECT id, m FROM o, regexp_matches(note, '[a-z]', 'g') m
SELECT id, w FROM o, regexp_split_to_table(note, ' ') w
SELECT id, w FROM o, string_to_table(note, ' ') w
SELECT id, upper(note), initcap(note), lpad(note, 6, '.'), rpad(note, 6), left(note, 2), right(note, -1), substring(note FROM 2 FOR 3), position('l' IN note), overlay(note PLACING 'XX' FROM 2 FOR 1) FROM o
SELECT id, split_part(note, ' ', 2), translate(note, 'abc', 'xyz'), reverse(note), repeat(note, 2), length(note), octet_length(note), strpos(note, 'l'), btrim(note, 'rh'), md5(note), ascii(note), chr(65 + qty) FROM o
SELECT id, concat(note, '-', qty, NULL, paid), concat_ws(',', note, status, qty), format('%s|%L|%L|%5s|%-5s|%1$s', note, status, note, qty, qty), quote_ident(coalesce(note, 'n')), quote_literal(note), quote_nullable(note) FROM o
SELECT id, encode(note::bytea, 'base64'), encode(sha256(note::bytea), 'hex'), decode('aGk=', 'base64'), to_hex(id * 100), convert_from('\x41'::bytea, 'UTF8') FROM o
SELECT id, starts_with(note, 'r'), note ^@ 'c', note || ' ' || qty, note COLLATE "C" < 'm' FROM o
SELECT id, round(total), round(total, 1), trunc(total, 1), ceil(total), floor(total), abs(-total), sign(total), mod(qty, 3), qty % 4, div(total, 7), total / 3, power(qty, 2), sqrt(total), ln(total + 1), log(total + 1), exp(1.0) FROM o
SELECT id, width_bucket(total, 0, 100, 5), width_bucket(qty, ARRAY[1, 3, 5]), gcd(id, 12), lcm(id, 4), factorial(qty), scale(total), min_scale(total), trim_scale(total * 1.00) FROM o
SELECT id, qty & 3, qty | 4, qty # 1, ~qty, qty << 2, qty >> 1, 7 / 2, -7 / 2, -7 % 3, 7.0 / 2, 2 ^ 3, |/ 16.0, @ -3 FROM o
SELECT id, sin(score), cos(score), atan2(score, 2), degrees(1.0), radians(180), pi(), score::numeric, score::int, total::int, total::float8 FROM o WHERE score < 1000
SELECT id, ARRAY[id, qty] || 3, array_append(ARRAY[qty], 1), array_prepend(0, ARRAY[qty]), array_cat(ARRAY[1], ARRAY[qty]), array_remove(ARRAY[1, qty, 2], 2), array_replace(ARRAY[1, qty], 1, 9), array_position(ARRAY[3, qty, 1], 1), array_positions(ARRAY[1, qty, 1], 1) FROM o
SELECT id, array_length(ARRAY[1, qty], 1), array_upper(ARRAY[1, 2], 1), array_lower(ARRAY[1], 1), (ARRAY[1, qty, 3])[2:3], (ARRAY[1, qty])[5], array_fill(qty, ARRAY[2]), trim_array(ARRAY[1, 2, qty], 1) FROM o
SELECT id, ARRAY[1, qty] @> ARRAY[2], ARRAY[qty] <@ ARRAY[1, 2, 3], ARRAY[qty, 1] && ARRAY[3], ARRAY[qty] = ARRAY[3], ARRAY[qty, 1] < ARRAY[2], string_to_array('a,b,' || qty, ',') FROM o
SELECT id, t.a, t.n FROM o, unnest(ARRAY[qty, 9]) WITH ORDINALITY t(a, n)
SELECT id, a, b FROM o, unnest(ARRAY[qty, 1], ARRAY['x', 'y', 'z']) u(a, b)
SELECT id, unnest(string_to_array(note, ' ')) FROM o
SELECT id, num_nulls(note, score, paid), num_nonnulls(note, score), nullif(note, ''), qty IS NULL, (note, score) IS NULL, ROW(note, id) IS NOT NULL FROM o
SELECT id, paid::text, paid::int, 'yes'::boolean, qty::boolean, total::text, at::text, at::date::text, (qty || ' days')::interval, '12'::int + qty FROM o
SELECT id, CAST(total AS integer), CAST(total AS numeric(6,1)), qty::varchar(1), note::varchar(3), id::smallint, id::bigint, id::real FROM o
SELECT id, (at, INTERVAL '10 days') OVERLAPS ('2024-02-01Z'::timestamptz, INTERVAL '3 days') FROM o
SELECT id, CASE status WHEN 'new' THEN 1 WHEN 'paid' THEN 2 END, CASE WHEN paid THEN total ELSE qty END FROM o
SELECT id, 'a' || 'b', E'x\ty', U&'\0041', $$q'q$$, 1e3, .5 FROM o
SELECT pg_typeof(id), pg_typeof(total), pg_typeof(at), pg_typeof(doc), pg_typeof(ARRAY[id]) FROM o
SELECT id, greatest(note, status), least(at, '2024-02-01Z'::timestamptz), coalesce(score, 0) FROM o
SELECT id, isfinite(at), 'infinity'::timestamptz > at, at BETWEEN '2024-01-10Z' AND '2024-02-10Z', at IN ('2024-01-06T07:13:00Z') FROM o
SELECT id, md5(doc::text) IS NOT NULL FROM o
SELECT id, uuid, uuid::text FROM (SELECT id, ('00000000-0000-0000-0000-0000000000' || lpad(to_hex(id), 2, '0'))::uuid AS uuid FROM o) q
SELECT id, substring(note FROM '(\w)u') FROM o
SELECT id, timezone('UTC', at), at AT TIME ZONE INTERVAL '2 hours', extract(timezone FROM at), at::timestamp, date_trunc('minute', at - '2024-01-01Z'::timestamptz) FROM o
SELECT current_database() IS NOT NULL, version() IS NOT NULL
SELECT id, 5 BETWEEN 1 AND qty, NOT paid, paid AND NULL, paid OR NULL, paid = (qty > 1), paid IS UNKNOWN FROM o
SELECT id, to_number('1,234.5', '9G999D9'), to_char(-total, '9999.99PR'), to_char(id, 'RN'), to_char(at, 'Dy, DD Month YYYY "at" HH12am'), to_char(at, 'IYYY-IW-ID J Q') FROM o
SELECT id, string_agg(ch, '' ORDER BY n DESC) FROM o, regexp_split_to_table(note, '') WITH ORDINALITY s(ch, n) GROUP BY id
SELECT id, levenshtein FROM (SELECT id, length(note) AS levenshtein FROM o) q
SELECT id, bit_length(note), get_byte(note::bytea, 0), note::bytea FROM o WHERE note <> ''
SELECT id, date '2024-01-31' + interval '1 month', time '10:00' + interval '15 hours', timestamp '2024-01-01' - timestamp '2023-12-25 12:00', interval '2 days' > interval '47 hours' FROM o
SELECT id, array_agg(x) FROM o, unnest(ARRAY[3, qty, 1]) x GROUP BY id, qty HAVING count(*) = 3 AND min(x) > 0 AND false
SELECT id, (SELECT array_agg(x ORDER BY x) FROM unnest(ARRAY[3, qty, 1]) x) FROM o
SELECT id, array_sort FROM (SELECT id, ARRAY(SELECT unnest(ARRAY[3, qty]) ORDER BY 1) AS array_sort FROM o) q
SELECT id, log(2.0, total + 1), round(2.5), round(-2.5), round(2.5::float8), 5::numeric / 3, 1 / 3.0, sinh(1.0) FROM o
SELECT id, extract(julian FROM at), date_part('dow', at), to_char(at, 'D'), extract(decade FROM at), extract(milliseconds FROM at), extract(century FROM at) FROM o
SELECT id, qty::text::json, ('"' || qty || '"')::jsonb, ('{"a":' || qty || '}')::jsonb->'a' FROM o
