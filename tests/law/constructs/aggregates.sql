-- Aggregates, with DISTINCT, ORDER BY and FILTER.
SELECT status, count(DISTINCT customer), count(DISTINCT (customer, qty)), sum(DISTINCT qty), avg(DISTINCT total) FROM o GROUP BY status
SELECT status, bool_and(paid), bool_or(paid), every(qty > 0) FROM o GROUP BY status
SELECT status, string_agg(note, ', ' ORDER BY id), string_agg(DISTINCT note, '|' ORDER BY note) FROM o GROUP BY status
SELECT status, array_agg(id ORDER BY total DESC, id), array_agg(DISTINCT qty ORDER BY qty DESC) FROM o GROUP BY status
SELECT status, array_agg(note ORDER BY id) FILTER (WHERE note IS NOT NULL) FROM o GROUP BY status
SELECT customer, array_agg(ARRAY[id, qty] ORDER BY id) FROM o GROUP BY customer
SELECT status, round(stddev(total), 6), round(stddev_pop(total), 6), round(variance(qty), 6), round(var_pop(qty), 6), round(var_samp(total), 6) FROM o GROUP BY status
SELECT status, stddev(score)::numeric(12,2), var_pop(score)::numeric(30,2) FROM o WHERE score < 100 GROUP BY status
SELECT status, percentile_cont(0.5) WITHIN GROUP (ORDER BY total), percentile_disc(0.5) WITHIN GROUP (ORDER BY total) FROM o GROUP BY status
SELECT percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY score), percentile_disc(ARRAY[0, 0.9]) WITHIN GROUP (ORDER BY status) FROM o
SELECT percentile_cont(0.3) WITHIN GROUP (ORDER BY at - '2024-01-01Z'::timestamptz) FROM o
SELECT customer, mode() WITHIN GROUP (ORDER BY status), mode() WITHIN GROUP (ORDER BY qty DESC) FROM o GROUP BY customer
SELECT bit_and(qty), bit_or(qty), bit_xor(qty) FROM o
SELECT round(corr(qty, id)::numeric, 8), round(covar_pop(qty, id)::numeric, 8), round(covar_samp(qty, id)::numeric, 8) FROM o
SELECT regr_count(qty, id), round(regr_slope(qty, id)::numeric, 8), round(regr_intercept(qty, id)::numeric, 8), round(regr_r2(qty, id)::numeric, 8) FROM o
SELECT regr_avgx(qty, id)::numeric(12, 6), regr_avgy(qty, id)::numeric(12, 6), regr_sxx(qty, id)::numeric(12, 6) AS sxx, regr_syy(qty, id)::numeric(12, 6) AS syy, regr_sxy(qty, id)::numeric(12, 6) AS sxy FROM o
SELECT status, json_agg(id ORDER BY id), jsonb_agg(total ORDER BY id DESC) FROM o GROUP BY status
SELECT status, jsonb_object_agg(id, total), json_object_agg(id, note ORDER BY id) FROM o GROUP BY status
SELECT status, jsonb_agg(jsonb_build_object('id', id, 'n', note) ORDER BY id) FROM o GROUP BY status
SELECT jsonb_agg(DISTINCT tags) FROM o
SELECT jsonb_agg(c ORDER BY c.id) FROM c
SELECT min(note COLLATE "C"), max(status) FROM o
SELECT min(tags::text), max(at), min(at::date), max(at::time), sum(at - '2024-01-01Z'::timestamptz), avg(at - '2024-01-01Z'::timestamptz) FROM o
SELECT sum(score), avg(score), min(score) FROM o WHERE score < 1000
SELECT sum(qty::smallint), sum(id::bigint), avg(id::bigint), sum(qty::real), max(ARRAY[qty, id]) FROM o
SELECT any_value FROM (SELECT min(id) AS any_value FROM o) q
SELECT sum(count(*)) OVER (), status, count(*) FROM o GROUP BY status
SELECT status, max(total) - min(total) AS spread, count(*) * 100.0 / (SELECT count(*) FROM o) AS share FROM o GROUP BY status
SELECT string_agg(x, ',' ORDER BY x) FROM (SELECT DISTINCT jsonb_array_elements_text(tags) AS x FROM o) q
SELECT COUNT(*) FILTER (WHERE paid)::DECIMAL / NULLIF(COUNT(*), 0) FROM o
SELECT range_agg FROM (SELECT count(*) AS range_agg FROM o) q
